"""Streams over HTTP that come in bursts: live HLS, segment by segment, and servers that send what has piled up."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from tests.command import Running
from tests.integration.test_capture import Quiet, serving
from tests.media import Pixels, grey

FPS, SEGMENT_S = 25, 2
SETTINGS = SourceSettings(open_timeout_s=5, read_timeout_s=5, reconnect_min_s=0.1, reconnect_max_s=0.3)

LONG = bool(os.environ.get("EDGE_APP_TEST_LONG"))


def write_segments(folder: Path, images: list[Pixels], kind: str = "mpegts") -> list[bytes]:
    """Segments of 2 s; of fMP4 the first is what comes before them all."""
    suffix = {"mpegts": "ts", "fmp4": "m4s"}[kind]
    names = {"hls_segment_filename": str(folder / f"s%02d.{suffix}"), "hls_segment_type": kind}
    options = {"hls_time": str(SEGMENT_S), "hls_list_size": "0", **names}
    with av.open(str(folder / "all.m3u8"), "w", format="hls", options=options) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"bf": "0", "g": "50", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    head = [folder / "init.mp4"] if kind == "fmp4" else []
    return [path.read_bytes() for path in [*head, *sorted(folder.glob(f"s*.{suffix}"))]]


def numbered(seconds: int) -> list[Pixels]:
    return [grey(30 + index % 200) for index in range(FPS * seconds)]


@contextmanager
def hls_server(
    segments: list[bytes],
    init: bytes = b"",
    ended: bool = False,
    shown: int = 3,
    breaks: tuple[int, ...] = (),
    suffix: str = ".ts",
) -> Iterator[str]:
    """A playlist to which a segment is added every 2 s, of which the last three are named; `ended`: all, and its end.

    breaks: the numbers of segments before which the stream starts anew.
    """
    began = time.monotonic()

    class Handler(Quiet):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            if name == "live.m3u8":
                passed = int((time.monotonic() - began) / SEGMENT_S)
                there = len(segments) if ended else min(shown + passed, len(segments))
                first = 0 if ended else max(0, there - 3)
                lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{SEGMENT_S}"]
                lines += [f"#EXT-X-MEDIA-SEQUENCE:{first}"] + ['#EXT-X-MAP:URI="init.mp4"'] * bool(init)
                for number in range(first, there):
                    lines += ["#EXT-X-DISCONTINUITY"] * (number in breaks)
                    lines += [f"#EXTINF:{SEGMENT_S},", f"{number}{suffix}"]
                content = "\n".join([*lines, *["#EXT-X-ENDLIST"] * ended, ""]).encode()
            else:
                content = init if name == "init.mp4" else segments[int(name.partition(".")[0])]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                pass

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}/live.m3u8"


def watch(url: str, seconds: float) -> tuple[FrameReader, list[tuple[float, float, float]]]:
    """The frames of so long: when each was taken, its time and its grey level."""
    with FrameReader(parse_source(url), SETTINGS) as reader:
        taken, end = [], time.monotonic() + seconds
        for frame in reader:
            taken.append((time.monotonic(), frame.time, float(frame.image.mean())))
            if taken[-1][0] > end:
                break
        assert reader.info.live
        assert reader.info.frame_count is None
    return reader, taken


def assert_paced(reader: FrameReader, taken: list[tuple[float, float, float]], seconds: float) -> None:
    """One frame after another at the rate of the film, none left out."""
    times = np.array([moment for _, moment, _ in taken])
    assert len(times) == pytest.approx(seconds * FPS, rel=0.15)
    assert reader.stats()["dropped_frames"] <= 0.1 * len(times)
    assert reader.stats()["reconnects"] == 0
    assert np.median(np.diff(times)) == pytest.approx(1 / FPS, abs=0.002)
    assert max(b - a for a, b in pairwise(times)) < 1.0
    assert all(at - moment < 0.5 for at, moment, _ in taken)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mpegts", "fmp4"] if LONG else ["mpegts"])
def test_live_hls_is_paced_by_its_time_stamps(tmp_path: Path, kind: str) -> None:
    init, segments = b"", write_segments(tmp_path, numbered(20), kind)
    if kind == "fmp4":
        init, *segments = segments
    with hls_server(segments, init, suffix=".m4s" if init else ".ts") as url:
        reader, taken = watch(url, 9)
    assert_paced(reader, taken, 9)
    levels = [level for _, _, level in taken]
    assert np.median(np.diff(levels)) == pytest.approx(1, abs=0.2)


@pytest.mark.slow
def test_live_hls_that_starts_anew_goes_on(tmp_path: Path) -> None:
    segments = write_segments(tmp_path, numbered(4))
    with hls_server(segments * 5, breaks=(2, 4, 6, 8)) as url:
        reader, taken = watch(url, 9)
    assert_paced(reader, taken, 9)


@pytest.mark.parametrize("suffix", [".ts", "", ".ts?x=1", ".jpg", ".php?n=1"])
def test_hls_with_an_end_is_a_file_whatever_its_segments_are_called(tmp_path: Path, suffix: str) -> None:
    segments = write_segments(tmp_path, numbered(6))
    with hls_server(segments, ended=True, suffix=suffix) as url, FrameReader(parse_source(url), SETTINGS) as reader:
        assert not reader.info.live
        began = time.monotonic()
        times = [frame.time for frame in reader]
    assert times == pytest.approx([index / FPS for index in range(6 * FPS)], abs=0.002)
    assert time.monotonic() - began < 4  # it is not paced


@pytest.mark.slow
@pytest.mark.usefixtures("models")
def test_who_stands_still_before_live_hls_is_one_person(tmp_path: Path, astronaut: Pixels) -> None:
    segments = write_segments(tmp_path, [astronaut] * (20 * FPS))
    with hls_server(segments) as url:
        outputs = ("--events", "e.jsonl", "--summary", "s.json")
        with Running(tmp_path, "run", url, "--max-frames", 10 * FPS, *outputs) as command:
            assert command.finish() == 0, command.err
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert facts["persons"] == 1
    assert facts["verdicts"]["no_mask"] == 1
    assert facts["dropped_frames"] < 0.1 * facts["frames"]
    assert facts["media_seconds"] == pytest.approx((facts["frames"] + facts["dropped_frames"]) / FPS, abs=1.0)


def in_time(content: bytes, seconds: int, due_s: Callable[[float], float]) -> type[Quiet]:
    """A live MPEG-TS of so many seconds; due_s: when what is shown at that second is sent."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            began, sent, step = time.monotonic(), 0, 1 / (4 * FPS)
            try:
                for number in range(1, round(seconds / step) + 1):
                    time.sleep(max(0.0, began + due_s(number * step) - time.monotonic()))
                    end = round(len(content) * number * step / seconds) // 188 * 188
                    self.wfile.write(content[sent:end])
                    sent = end
            except OSError:
                pass

    return Handler


def ts(folder: Path, seconds: int) -> bytes:
    return b"".join(write_segments(folder, numbered(seconds)))


@pytest.mark.slow
def test_a_server_that_sends_in_bursts_is_paced_once_the_first_have_shown_it(tmp_path: Path) -> None:
    with serving(in_time(ts(tmp_path, 16), 16, lambda at: at // 2 * 2)) as port:
        _, taken = watch(f"http://127.0.0.1:{port}/live", 12)
    late = [row for row in taken if row[0] > taken[0][0] + 5]
    times = np.array([moment for _, moment, _ in late])
    assert len(late) == pytest.approx(7 * FPS, rel=0.15)
    assert np.median(np.diff(times)) == pytest.approx(1 / FPS, abs=0.002)
    assert max(np.diff(times)) < 1.0


@pytest.mark.slow
def test_what_has_piled_up_before_the_stream_is_opened_adds_no_delay(tmp_path: Path) -> None:
    """6 s at once, as a server sends that keeps a history, then in real time: the newest frame is wanted."""
    with serving(in_time(ts(tmp_path, 12), 12, lambda at: max(0.0, at - 6))) as port:
        _, taken = watch(f"http://127.0.0.1:{port}/live", 4)
    began = taken[0][0]
    behind = [(30 + (6 + at - began) * FPS - level) % 200 for at, _, level in taken if at > began + 1]
    assert np.median(behind) < 1.0 * FPS


@pytest.mark.slow
def test_sound_alone_is_no_sign_of_life(tmp_path: Path) -> None:
    """The pictures of a camera end after 2 s, and its sound goes on."""
    with av.open(str(tmp_path / "a.ts"), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"bf": "0", "preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("mp2", rate=48_000, layout="mono")
        for second in range(12):
            for image in numbered(1) if second < 2 else ():
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            for part in range(48):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.int16), format="s16", layout="mono")
                silence.sample_rate, silence.pts = 48_000, second * 48_000 + part * 1000
                container.mux(sound.encode(silence))
        for stream in (video, sound):
            container.mux(stream.encode(None))
    content = (tmp_path / "a.ts").read_bytes()
    settings = SETTINGS.model_copy(update={"read_timeout_s": 2.0, "stall_timeout_s": 60.0, "reconnect": False})
    began = time.monotonic()
    with (
        serving(in_time(content, 12, lambda at: at)) as port,
        FrameReader(parse_source(f"http://127.0.0.1:{port}/live"), settings) as reader,
        pytest.raises(SourceError, match="no frame for 2 s"),
    ):
        list(reader)
    assert time.monotonic() - began < 10
