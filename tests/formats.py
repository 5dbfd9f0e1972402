"""Films in many formats, made with PyAV from the demo portrait, and what their pixels must be when they are decoded."""

from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from edge_app.capture.demo import portrait
from edge_app.capture.open import open_source, parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings, SourceSettings
from edge_app.planes import Picture
from edge_app.runtime.pipeline import SourceAnalyzer, results
from edge_app.vision.analyzer import Analyzer

Pixels = npt.NDArray[np.uint8]

FPS = 10
FRAMES = 6
# Mean absolute differences, in grey levels of 0..255.
WHOLE = 4.5  # of a whole frame from its original: what encoding and 4:2:0 take
WAYS = 3.0  # between the ways to the same pixels, which interpolate chroma differently
COLOUR = 4.0  # inside of a patch of one colour
PATCH = 32  # pixels; side of a square of known colour
COLOURS = ((0, 0, 200), (0, 180, 0), (200, 40, 0), (235, 235, 235), (16, 16, 16), (0, 190, 200), (190, 60, 190))
# Luma weights of red and blue, written down from ITU-T H.273 once more: the tests must not share them with the code.
WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
DERIVED = {5: (0.2220, 0.0713), 9: (0.2627, 0.0593), 12: (0.2290, 0.0793)}  # of primaries: PAL, BT.2020, Display P3
YCGCO = 8
NEAREST = {0: 1, 10: 9, 11: 1, 14: 9, 15: 9, 16: YCGCO, 17: YCGCO}


@dataclass(frozen=True)
class Film:
    """How to encode. matrix, transfer, primaries: codes of H.273; 2: not told. range: 1 limited, 2 full, 0 not told.

    interlaced: tff or bff. turn, mirrored: degrees counterclockwise that a player
    has to turn it, and whether it then mirrors it left and right. aspect: of a pixel.
    """

    codec: str = "libx264"
    pixels: str = "yuv420p"
    suffix: str = ".mkv"
    size: tuple[int, int] = (320, 300)
    matrix: int = 2
    range: int = 0
    transfer: int = 2
    primaries: int = 2
    interlaced: str = ""
    turn: int = 0
    mirrored: bool = False
    aspect: Fraction | None = None
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        shape = "x".join(str(side) for side in self.size)
        tags = f"{self.matrix}.{self.range}.{self.transfer}.{self.primaries}"
        turn = f"{self.turn}{'m' * self.mirrored}"
        return "-".join(part for part in (self.codec, self.pixels, self.suffix[1:], shape, tags, self.interlaced, turn))


def original(masked: bool, size: tuple[int, int] = (320, 300)) -> Pixels:
    """The portrait at the top left of a picture of that size, a row of colours at its bottom."""
    width, height = size
    image = portrait(masked)
    below, right = max(height - image.shape[0], 0), max(width - image.shape[1], 0)
    image = np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    image = np.ascontiguousarray(image[:height, :width])
    for index, colour in enumerate(COLOURS):
        rows, columns = patch(index, size)
        image[rows, columns] = colour
    return image


def patch(index: int, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the colour of that index."""
    return slice(size[1] - PATCH, size[1]), slice(index * PATCH, (index + 1) * PATCH)


def encode(path: Path, film: Film, image: Pixels, frames: int = FRAMES) -> Path:
    with av.open(str(path), "w") as container:
        write(container, film, image, frames)
    return path


def write(container: av.container.OutputContainer, film: Film, image: Pixels, frames: int = FRAMES) -> None:
    """Encode one stream of a still picture, which a player shows as `image`."""
    coded = np.ascontiguousarray(np.rot90(image[:, ::-1] if film.mirrored else image, -film.turn // 90))
    stream = container.add_stream(film.codec, rate=FPS, options=_options(film))
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = coded.shape[1], coded.shape[0], film.pixels
    context = stream.codec_context
    context.colorspace, context.color_range = film.matrix, film.range
    context.color_trc, context.color_primaries = film.transfer, film.primaries
    if film.aspect is not None:
        context.sample_aspect_ratio = film.aspect
    if film.turn or film.mirrored:
        stream.set_display_rotation(film.turn, film.mirrored)
    stream.time_base = Fraction(1, FPS)
    fields = _fields(stream, film.interlaced) if film.interlaced else None
    for index in range(frames):
        frame = to_frame(coded, film)
        frame.pts, frame.time_base = index, Fraction(1, FPS)
        if fields is not None:
            fields.push(frame)
            frame = fields.pull()  # type: ignore[assignment]
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def to_frame(image: Pixels, film: Film) -> VideoFrame:
    """In the colours that the film's tags say; by hand, as FFmpeg has no conversion for some of them."""
    kind = av.VideoFormat(film.pixels)
    if film.codec == "libx264" and film.pixels == "gray":  # comes back as 4:2:0 of limited range
        luma = np.ascontiguousarray(to_yuv(image, film, full=False)[..., 0])
        frame = VideoFrame.from_ndarray(luma, format="gray")
    elif kind.name.startswith("xyz") or kind.is_rgb or kind.has_palette or len(kind.components) < 3:
        frame = VideoFrame.from_ndarray(image, format="bgr24").reformat(format=film.pixels)
    else:
        full = film.range == 2 or film.pixels.startswith("yuvj")
        yuv = to_yuv(image, film, full)
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(yuv.transpose(2, 0, 1)), format="yuv444p")
        tag = 2 if full else 1
        frame.colorspace = 1  # on both sides, so that nothing changes
        frame = frame.reformat(format=film.pixels, src_color_range=tag, dst_color_range=tag, interpolation="AREA")
    frame.colorspace, frame.color_range = film.matrix, film.range
    frame.color_trc, frame.color_primaries = film.transfer, film.primaries
    return frame


def to_yuv(image: Pixels, film: Film, full: bool) -> Pixels:
    """uint8 (H, W, 3) BGR -> the same of Y, U and V; with the nearest matrix, where the tag means more than one."""
    matrix = NEAREST.get(film.matrix, film.matrix)
    blue, green, red = np.moveaxis(image.astype(np.float64), 2, 0)
    if matrix == YCGCO:
        luma, u, v = red / 4 + green / 2 + blue / 4, -red / 4 + green / 2 - blue / 4, red / 2 - blue / 2
    else:
        by_primaries = DERIVED.get(film.primaries, WEIGHTS[1])
        of_red, of_blue = by_primaries if matrix in (12, 13) else WEIGHTS.get(matrix, (0.299, 0.114))
        luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
        u, v = (blue - luma) / (2 * (1 - of_blue)), (red - luma) / (2 * (1 - of_red))
    if full:
        planes = [luma, u + 128, v + 128]
    else:
        planes = [luma * 219 / 255 + 16, u * 224 / 255 + 128, v * 224 / 255 + 128]
    return np.clip(np.round(np.stack(planes, 2)), 0, 255).astype(np.uint8)


def _options(film: Film) -> dict[str, str]:
    quality = {
        "libx264": {"preset": "ultrafast", "crf": "10"},
        "libx264rgb": {"preset": "ultrafast", "crf": "10"},
        "libx265": {"preset": "ultrafast", "crf": "8", "x265-params": "log-level=none"},
        "libsvtav1": {"preset": "12", "crf": "12"},
        "libvpx": {"cpu-used": "8", "deadline": "realtime", "b": "3M"},
        "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime", "crf": "10", "b": "0"},
    }
    options = quality.get(film.codec, {"b": "8M", "qmax": "6"})
    if film.interlaced:
        options = options | {"flags": "+ildct+ilme"}
        if film.codec == "libx264":
            options = options | {"x264-params": f"{film.interlaced}=1"}
    return options | film.options


def _fields(stream: VideoStream, first: str) -> Graph:
    """Marks frames as interlaced."""
    graph = Graph()
    source = graph.add_buffer(template=stream)
    mark = graph.add("setfield", first)
    sink = graph.add("buffersink")
    source.link_to(mark)
    mark.link_to(sink)
    graph.configure()
    return graph


def pictures(path: Path, settings: SourceSettings | None = None) -> list[Picture]:
    with open_source(parse_source(str(path)), settings or SourceSettings()) as source:
        found = []
        while (frame := source.read()) is not None:
            assert not isinstance(frame[0], np.ndarray)
            found.append(frame[0])
    return found


def judged(path: Path, analyzer: Analyzer, settings: SourceSettings | None = None) -> tuple[int, list[str]]:
    """How many frames a run of the film has, and the last label of each person in it."""
    labels: dict[int, str] = {}
    count = 0
    run = Settings(source=settings or SourceSettings())
    with (
        FrameReader(parse_source(str(path)), run.source) as reader,
        closing(results(SourceAnalyzer(run, analyzer), reader)) as stages,
    ):
        for result in stages:
            count += 1
            labels |= {event.track_id: event.label for event in result.events}
    return count, list(labels.values())


def differ(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def grey(image: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)


def check_pixels(picture: Picture, film: Film, image: Pixels) -> None:
    if av.VideoFormat(film.pixels).name.startswith(("gray", "ya")):
        image = grey(image)
    width, height = film.size
    assert (picture.width, picture.height) == film.size
    parts = picture.part(0, 0, width, height)  # first: later it would be cut from the whole
    small, box = picture.shrunk((width // 2, height // 2)), (101, 53, 216, 168)
    part, whole = picture.part(*box), picture.bgr()
    assert whole.shape == parts.shape == image.shape
    assert whole.dtype == parts.dtype == small.dtype == part.dtype == np.uint8
    limit = WHOLE * (1.6 if film.interlaced else 1)
    assert differ(whole, image) < limit
    assert differ(parts, image) < limit
    assert differ(whole, parts) < WAYS
    assert differ(part, parts[box[1] : box[3], box[0] : box[2]]) < 0.2
    assert differ(small, cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)) < limit  # type: ignore[arg-type]
    for index in range(len(COLOURS)):
        rows, columns = patch(index, film.size)
        middle = slice(rows.start + 8, rows.stop - 8), slice(columns.start + 8, columns.stop - 8)
        for pixels in (whole, parts):
            found, wanted = (array[middle].reshape(-1, 3).mean(0) for array in (pixels, image))
            assert np.abs(found - wanted).max() < COLOUR * (2 if film.pixels in ("rgb555le", "xyz12le") else 1)
