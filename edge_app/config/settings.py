"""Every setting with its unit, bounds and default; `config.py` fills it from the layers. No defaults elsewhere."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, SecretStr, field_validator, model_validator

from edge_app.redact import shown_source

MAX_CAMERAS = 256


class Section(BaseModel):
    """A secret is a `SecretStr` named `x` with a sibling `x_file: Path | None`: see `config.secrets`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # it may be a secret
    )

    @field_validator("*")
    @classmethod
    def _usable(cls, value: Any) -> Any:
        """Expand ~ in paths (`~nobody/x` stays as it is), and refuse text that the system cannot take as a name."""
        if isinstance(value, Path):
            value = Path(os.path.expanduser(value))  # noqa: PTH111  Path.expanduser fails without such a user
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str | Path) and b"\0" in os.fsencode(text):
            raise ValueError("it holds a NUL")
        return value


def _source_text(value: object) -> str:
    """Text as it is: the name of a file need not be valid Unicode, which pydantic's own str asks for."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not text:
        raise ValueError("expected text")
    return text


Seconds = Annotated[float, Field(gt=0, le=3600)]
Unit = Annotated[float, Field(ge=0, le=1)]


class SourceSettings(Section):
    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """As everybody may see it: a URL may hold credentials."""
        yield from ((name, shown_source(value) if name == "uri" else value) for name, value in super().__repr_args__())

    uri: Annotated[str, PlainValidator(_source_text, json_schema_input_type=str)] = Field(
        "0",
        description="Camera index, /dev/videoN, file, folder, URL, csi://N, pipeline or demo",
    )
    username: str | None = Field(
        None, pattern="^[^:]+$", description="User name for a URL; null: the URL's own, if any"
    )
    password: SecretStr | None = Field(None, description="Password for a URL; null: the URL's own, if any")
    password_file: Path | None = Field(None, description="File whose only line is the password")
    camera: str = Field("camera", min_length=1, description="Name of this camera in events")
    width: int | None = Field(None, ge=64, le=16384, description="Width asked of a camera, pixels; null: its own")
    height: int | None = Field(None, ge=64, le=16384, description="Height asked of a camera, pixels; null: its own")
    fps: float | None = Field(None, gt=0, le=1000, description="Rate asked of a camera, frames a second")
    max_fps: float | None = Field(None, gt=0, le=1000, description="Highest rate taken from a live source; null: all")
    every: Seconds | None = Field(
        None, description="Fetch the picture at an http(s) URL again after this long, seconds; null: the URL is a video"
    )
    rtsp_transport: Literal["tcp", "udp"] = Field("tcp", description="RTSP transport")
    decode_threads: int | None = Field(
        None, ge=1, le=64, description="CPU threads that decode a video file; null: half of the cores"
    )
    stream: int | None = Field(
        None, ge=0, le=1000, description="Number of the video stream in a file; null: the largest that is no cover"
    )
    open_timeout_s: Seconds = Field(10.0, description="Longest wait for a stream to open, seconds")
    wait_s: float = Field(
        0.0,
        ge=0,
        le=86400,
        description="Try a live source that does not open at the start for this long, seconds; of several cameras as "
        "long as any other runs",
    )
    read_timeout_s: Seconds = Field(5.0, description="Longest wait for one read of a stream, seconds")
    stall_timeout_s: Seconds = Field(5.0, description="A live source without a frame for this long is reopened")
    reconnect: bool = Field(True, description="Reopen a live source that was lost; false: end the run")
    reconnect_min_s: Seconds = Field(0.5, description="First wait before a reconnect, seconds")
    reconnect_max_s: Seconds = Field(5.0, description="Longest wait between reconnects, seconds")


class DetectorSettings(Section):
    model: Path | None = Field(None, description="Model folder; null: the face_detector that comes with edge_app")
    stage: Literal["beta", "gamma", "prod"] = Field("prod", description="Earliest stage of a model that may run")
    engine: Literal["opencv", "onnxruntime"] = Field("opencv", description="What runs the detector network")
    input_size: int = Field(320, ge=96, le=2048, description="Long side the frame is shrunk to, pixels")
    score_threshold: Unit | None = Field(None, description="Lowest score kept; null: from the model's manifest")
    iou_threshold: Unit = Field(0.3, description="Boxes that overlap more than this are one face")
    min_face_px: int = Field(16, ge=4, le=2048, description="Smaller faces are dropped, pixels of the frame (width)")
    threads: int = Field(1, ge=1, le=64, description="CPU threads of the detector")


class ClassifierSettings(Section):
    model: Path | None = Field(None, description="Model folder; null: the mask_classifier that comes with edge_app")
    stage: Literal["beta", "gamma", "prod"] = Field("prod", description="Earliest stage of a model that may run")
    precision: Literal["int8", "fp32"] = Field("int8", description="Which ONNX file of the model runs")
    provider: str = Field("CPUExecutionProvider", description="onnxruntime execution provider")
    threads: int = Field(1, ge=1, le=64, description="CPU threads of the classifier")
    recheck_s: float = Field(
        0.2, ge=0, le=3600, description="A person whose verdict stands is classified again after this long, seconds"
    )


class QualitySettings(Section):
    """What makes a face's vote count less. Each measure gives a full vote from its value on, none below half of it."""

    enabled: bool = Field(True, description="Weigh votes by the face's quality")
    lowest: Unit = Field(0.2, description="A face of lower quality has no vote and is unsure")
    width_px: float = Field(12.0, ge=0, le=2048, description="Full vote from this face width on, pixels")
    sharpness: float = Field(0.8, ge=0, le=255, description="Full vote from this Laplacian deviation on, grey levels")
    brightness: float = Field(50.0, ge=0, le=255, description="Full vote from this mean grey level on, 0..255")
    at_edge: Unit = Field(0.5, description="Factor on the vote of a face that touches the frame's edge")


class TrackerSettings(Section):
    lost_s: Seconds = Field(1.5, description="A person unseen for this long has left, seconds")
    iou_threshold: Unit = Field(0.1, description="Lowest IoU that joins a detection to a person")
    min_hits: int = Field(2, ge=1, le=100, description="Detections in a row before a person counts")


class VerdictSettings(Section):
    window_s: Seconds = Field(1.5, description="Votes older than this are forgotten, seconds")
    min_votes: int = Field(3, ge=1, le=1000, description="Fewer votes than this stay unsure")
    mask_threshold: Unit | None = Field(None, description="Mean mask probability from which a person wears a mask")
    no_mask_threshold: Unit | None = Field(None, description="Mean mask probability up to which a person wears none")
    hysteresis: Annotated[float, Field(ge=0, le=0.5)] = Field(0.1, description="How far past a bound a verdict holds")

    @model_validator(mode="after")
    def _ordered(self) -> "VerdictSettings":
        low, high = self.no_mask_threshold, self.mask_threshold
        if low is not None and high is not None and low > high:
            raise ValueError("no_mask_threshold must not exceed mask_threshold")
        return self


class OutputSettings(Section):
    show: bool = Field(False, description="Show the live picture in a window")
    video: Path | None = Field(None, description="Annotated video to write (H.264 MP4)")
    events: Path | None = Field(None, description="Events file to append to (JSON Lines)")
    summary: Path | None = Field(None, description="Summary file to write at the end (JSON)")
    overwrite: bool = Field(False, description="Replace an earlier video, picture or chart; false: take a new name")
    mode: Literal["0600", "0640", "0644", "0660", "0664"] = Field(
        "0600", description="Permissions of new files, octal; a file that is there keeps its own"
    )

    @property
    def permissions(self) -> int:
        return int(self.mode, 8)


class StoreSettings(Section):
    path: Path | None = Field(
        None, description="SQLite database that keeps every event; null: none, or one in the state directory"
    )


class MetricsSettings(Section):
    host: str = Field("127.0.0.1", min_length=1, description="Address the metrics server listens on")
    port: int | None = Field(None, ge=1, le=65535, description="Port of the metrics server; null: no server")
    ready_age_s: Seconds = Field(5.0, description="Ready while the newest finished frame is younger, seconds")


class WatchdogSettings(Section):
    no_frame_s: Seconds | None = Field(None, description="A live source silent for this long ends the run; null: off")
    stuck_s: Seconds | None = Field(None, description="A frame in work for this long ends the run; null: off")


class Settings(Section):
    """All settings of one run."""

    profile: Literal["auto", "pi4", "pi5", "jetson_nano", "jetson_orin", "x86"] = Field(
        "auto", description="Board profile with performance settings; auto: by the board this runs on"
    )
    source: SourceSettings = SourceSettings()
    sources: tuple[SourceSettings, ...] | None = Field(
        None, min_length=1, description="Several cameras in one run, each with the keys of source; null: source alone"
    )
    detector: DetectorSettings = DetectorSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    quality: QualitySettings = QualitySettings()
    tracker: TrackerSettings = TrackerSettings()
    verdict: VerdictSettings = VerdictSettings()
    output: OutputSettings = OutputSettings()
    store: StoreSettings = StoreSettings()
    metrics: MetricsSettings = MetricsSettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    max_frames: int | None = Field(None, ge=1, description="Stop after this many frames; null: run to the end")

    @property
    def cameras(self) -> tuple[SourceSettings, ...]:
        """Those of a run: `sources`, or else `source` alone."""
        return self.sources or (self.source,)

    def of_camera(self, camera: SourceSettings, output: OutputSettings | None = None) -> Self:
        """The settings for one of the cameras: as if it were the only one."""
        return self.model_copy(update={"source": camera, "sources": None, "output": output or self.output})
