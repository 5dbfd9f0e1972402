"""`edge-app doctor`: looks at everything a run needs and says what to do about what is missing.

Every check gives rows; none raises. A check must work on a system where the thing it looks at is broken.
"""

import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edge_app.commands.opencv import quiet_opencv, require_opencv
from edge_app.commands.options import ConfigOption, ProfileOption, SetOption, resolve_options
from edge_app.config.board import board_text, detect_profile
from edge_app.config.layers import Resolved
from edge_app.config.settings import ClassifierSettings, DetectorSettings, Settings
from edge_app.errors import EdgeAppError, ModelError, SourceError, UsageError
from edge_app.redact import redact

_PACKAGES = ("opencv-python", "onnxruntime", "numpy", "supervision", "trackers", "av", "pydantic", "prometheus-client")


@dataclass(frozen=True)
class Row:
    """One finding. advice: what to do, empty for ok. exit_code: what an error row ends the program with."""

    name: str
    status: Literal["ok", "warning", "error"]
    detail: str
    advice: str = ""
    exit_code: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    assignments: SetOption = None,
) -> int:
    """Check this machine and say what to do about what is missing."""
    quiet_opencv()
    from edge_app.commands import console

    try:
        resolved: Resolved | EdgeAppError = resolve_options(config, profile, assignments)
    except UsageError as error:
        resolved = error
    rows = examine(resolved)
    code = exit_code(rows)
    if as_json:
        console.to_json({"exit_code": code, "checks": [row.to_dict() for row in rows]}, indent=2)
    else:
        console.table(
            ("check", "status", "found", "what to do"), [(r.name, r.status, r.detail, r.advice) for r in rows]
        )
    return code


def examine(resolved: Resolved | EdgeAppError, environment: dict[str, str] | None = None) -> list[Row]:
    """All findings, in reading order. `resolved` is the configuration, or why it could not be read."""
    env = dict(os.environ) if environment is None else environment
    if isinstance(resolved, EdgeAppError):
        profile, settings = detect_profile(board_text()), Settings()
        configuration = Row("configuration", "error", str(resolved), "correct it", resolved.exit_code)
    else:
        profile, settings = resolved.profile, resolved.settings
        own = sum(layer != "default" and not layer.startswith("profile ") for layer in resolved.origin.values())
        configuration = Row("configuration", "ok", f"valid, {own} settings of your own (`edge-app config` shows them)")
    rows = [
        *_versions(),
        configuration,
        _board(profile),
        *_opencv(),
        pyav(),
        *_onnxruntime(settings),
        *_models(settings),
        *cameras(),
        *sources(settings),
        display(env, sys.platform),
    ]
    return [replace(row, detail=redact(row.detail), advice=redact(row.advice)) for row in rows]


def exit_code(rows: list[Row]) -> int:
    """0, or the code of the first error."""
    return next((row.exit_code for row in rows if row.status == "error"), 0)


def _versions() -> Iterator[Row]:
    machine = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Row("edge-app", "ok", f"{_version('edge-app') or 'from a checkout'}, {machine}")
    found = {name: _version(name) for name in _PACKAGES}
    missing = [name for name, version in found.items() if version is None]
    detail = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    if missing:  # opencv-python-headless and onnxruntime-gpu replace the plain packages
        advice = f"not installed under that name: {', '.join(missing)}"
        yield Row("packages", "warning", detail, advice)
    else:
        yield Row("packages", "ok", detail)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _board(profile: str) -> Row:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    detail = f"{board_text()}, {cores} cores, profile {profile or 'none'}"
    if not profile:
        return Row(
            "board", "warning", detail, "no profile for this board: choose one with --profile, then edge-app bench"
        )
    return Row("board", "ok", detail)


def _opencv() -> Iterator[Row]:
    try:
        require_opencv()
    except UsageError as error:
        yield Row("opencv", "error", error.detail, error.advice, error.exit_code)
        return
    import cv2

    from edge_app import shared_libraries

    yield Row("opencv", "ok", f"{cv2.__version__}, {cv2.getNumThreads()} threads")
    yield from opencv_build(cv2.getBuildInformation())
    if missing := shared_libraries.missing_from_opencv(window=True):
        detail, advice = shared_libraries.explain(missing)
        yield Row("opencv windows", "warning", detail, f"for --show: {advice}")


def pyav() -> Row:
    """Whether the library that decodes video files and streams, and encodes videos, is here and can do so."""
    try:
        import av
    except ImportError as error:
        return Row("av", "error", f"cannot be imported ({error})", "pip install av", UsageError.exit_code)
    h264 = "h264" in av.codecs_available
    found = f"{av.__version__}, FFmpeg {av.ffmpeg_version_info}" + ("" if h264 else ", without H.264")
    return Row("av", "ok" if h264 else "warning", found, "" if h264 else "install the wheel of PyAV from PyPI")


def opencv_build(information: str) -> Iterator[Row]:
    """Rows for the parts of an OpenCV build, from `cv2.getBuildInformation()`."""
    advice = {
        "GUI": "this build has no windows, so no --show: pip install opencv-python (not -headless)",
        "GStreamer": "needed for csi:// and pipelines only: there, use the system's OpenCV (python3-opencv)",
    }
    for part, hint in advice.items():
        match = re.search(rf"^\s*{part}:[ \t]*(.*)$", information, re.MULTILINE)
        found = match[1].strip() if match else ""
        if found and not found.startswith("NO"):
            yield Row(f"opencv {part}", "ok", found)
        else:
            yield Row(f"opencv {part}", "warning", "not in this build", hint)


def _onnxruntime(settings: Settings) -> Iterator[Row]:
    try:
        from edge_app.inference.ort import onnxruntime
    except ImportError as error:
        yield Row(
            "onnxruntime", "error", f"cannot be imported ({error})", "pip install onnxruntime", ModelError.exit_code
        )
        return
    providers = onnxruntime.get_available_providers()
    detail = f"{onnxruntime.__version__}: {', '.join(providers)}"
    wanted = settings.classifier.provider
    if wanted in providers:
        yield Row("onnxruntime", "ok", detail)
    else:
        advice = f"set classifier.provider to one of these, or install the onnxruntime that has {wanted}"
        yield Row("onnxruntime", "error", detail, advice, ModelError.exit_code)


def _models(settings: Settings) -> Iterator[Row]:
    try:
        from edge_app.inference.model import ModelName, open_model
    except ImportError:  # reported by the onnxruntime row
        return
    chosen: dict[ModelName, DetectorSettings | ClassifierSettings] = {
        "face_detector": settings.detector,
        "mask_classifier": settings.classifier,
    }
    for name, part in chosen.items():
        try:
            model = open_model(part.model, name, part.stage)
            for precision in model.manifest.files:
                model.session(precision)
        except ModelError as error:
            yield Row(f"model {name}", "error", error.detail, error.advice, error.exit_code)
        else:
            files = ", ".join(sorted(model.manifest.files))
            yield Row(f"model {name}", "ok", f"version {model.manifest.version} ({files}) in {model.folder}")


def cameras(devices: Path = Path("/dev"), names: Path = Path("/sys/class/video4linux")) -> Iterator[Row]:
    """One row for each video device, or one that says there is none."""
    if not sys.platform.startswith("linux"):
        yield Row("camera", "ok", "cannot be listed on this system: try `edge-app run 0`")
        return
    found = sorted(devices.glob("video*"), key=lambda path: (len(path.name), path.name))
    for device in found:
        try:
            label = (names / device.name / "name").read_text(encoding="utf-8").strip()
        except OSError:
            label = "unnamed"
        if os.access(device, os.R_OK | os.W_OK):
            yield Row("camera", "ok", f"{device}: {label}")
        else:
            yield Row(
                "camera", "warning", f"{device}: {label}: no permission", "sudo usermod -aG video $USER, log in again"
            )
    if not found:
        yield Row("camera", "warning", "no /dev/video* here", "plug one in; files, streams and `demo` need none")


def sources(settings: Settings) -> Iterator[Row]:
    """One row for each of several cameras: whether its file or device is there, or its server answers."""
    try:
        from edge_app.capture.open import parse_source
        from edge_app.capture.probe import check_reachable
    except ImportError:  # reported by the opencv row
        return
    for source in settings.sources or ():
        name = f"source {source.camera}"
        try:
            spec = parse_source(source.uri)
            path = f"/dev/video{spec.uri}" if spec.uri.isdecimal() else spec.uri
            here = sys.platform.startswith("linux") and spec.kind in ("camera", "file", "images")
            if spec.kind == "stream":
                check_reachable(spec.uri, source.open_timeout_s)
            elif here and not os.path.exists(path):  # noqa: PTH110 - Path.exists fails in a folder that it cannot read
                missing = f": {path}" if spec.kind == "camera" else ""
                raise SourceError(f"{spec.display}{missing} does not exist", "check the name, or plug it in")
        except EdgeAppError as error:
            yield Row(name, "error", error.detail, error.advice, error.exit_code)
        else:
            yield Row(name, "ok", f"{spec.display}, {'answers' if spec.kind == 'stream' else 'is there'}")


def display(environment: dict[str, str], system: str) -> Row:
    """Whether windows can open."""
    if not system.startswith("linux"):
        return Row("display", "ok", system)
    for name in ("WAYLAND_DISPLAY", "DISPLAY"):
        if environment.get(name):
            return Row("display", "ok", f"{name}={environment[name]}")
    return Row("display", "warning", "none: runs are headless", "--show needs a desktop session or `ssh -X`")
