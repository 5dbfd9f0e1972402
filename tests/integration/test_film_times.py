"""Films whose time stamps, lengths or ends are not what they seem: what is read of them, when, and what is said."""

import gc
import json
import logging
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from edge_app.capture.open import open_source, parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import SourceSettings
from edge_app.monitor.prometheus import resident_bytes
from tests.command import Running
from tests.integration.test_capture import QUICK, mjpeg, serving
from tests.media import Pixels, grey, write_clip

STEP = Fraction(1, 25)


def write_at(path: Path, times: Sequence[float], images: Sequence[Pixels] | None = None, **options: str) -> Path:
    """A film whose frames have these presentation times, seconds; options: of libx264."""
    pictures = images or [grey(30 + 3 * index % 200) for index in range(len(times))]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", **options})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 90_000)
        for moment, image in zip(times, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = round(moment * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path: Path) -> tuple[list[float], list[float]]:
    """Times and grey levels."""
    with FrameReader(parse_source(str(path)), SourceSettings()) as reader:
        frames = list(reader)
    return [frame.time for frame in frames], [float(frame.image.mean()) for frame in frames]


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("start", [0.0, 7.3])
def test_frames_are_shown_in_their_order_at_their_time(tmp_path: Path, name: str, start: float) -> None:
    """With B-frames, which are not stored in that order, at a rate that changes."""
    times = [start + float(STEP * moment) for moment in (*range(30), 60, 61, 90, 91, *range(92, 140))]
    film = write_at(tmp_path / name, times, bf="3", g="30")
    shown, levels = read(film)
    assert shown == pytest.approx([moment - start for moment in times], abs=0.002)
    assert np.argsort(levels[:40]).tolist() == list(range(40))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_variable_rate_is_no_early_end(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    times = [0.0, 0.08, 0.2, 0.28, 0.4, 3.4, 3.48, 3.6]
    with open_source(parse_source(str(write_at(tmp_path / name, times))), SourceSettings()) as source:
        assert source.info.frame_count == len(times)
        assert len(list(iter(source.read, None))) == len(times)
    assert caplog.text == ""


@pytest.mark.parametrize("again", [0.0, 86400.0, 2**33 / 90_000 - 2])
def test_a_new_beginning_in_mid_film_is_bridged_and_told_once(
    tmp_path: Path, again: float, caplog: pytest.LogCaptureFixture
) -> None:
    first = write_at(tmp_path / "1.ts", [float(STEP * n) for n in range(60)])
    other = write_at(tmp_path / "2.ts", [again + float(STEP * n) for n in range(60)])
    with caplog.at_level(logging.WARNING):
        times, _ = read(joined(tmp_path / "a.ts", first, other, first))
    assert len(times) == 180
    assert np.diff(times) == pytest.approx(float(STEP), abs=0.002)
    assert sum("bridged" in line for line in caplog.messages) == 1


def test_one_frame_in_20_s_is_no_jump(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    times, _ = read(write_clip(tmp_path / "a.mp4", [grey(30 + 9 * index) for index in range(12)], fps=Fraction(1, 20)))
    assert times == pytest.approx([20.0 * index for index in range(12)])
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_a_file_that_still_grows_is_read_to_where_it_is(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    noise = list(np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8))
    film = write_clip(tmp_path / name, noise)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    times, _ = read(film)
    assert 10 <= len(times) < 25
    assert caplog.text == ""  # nobody has said how many frames there are


@pytest.mark.usefixtures("models")
def test_a_video_that_is_written_keeps_the_times_of_its_film(tmp_path: Path, astronaut: Pixels) -> None:
    """A rate that changes, and a jump by a day, which is bridged."""
    times = [0.0, 0.08, 0.2, 0.28, 0.4, 0.44, 0.52, 0.6]
    parts = [write_at(tmp_path / f"{n}.ts", [n * 86400 + t for t in times], [astronaut] * 8) for n in (0, 1)]
    joined(tmp_path / "a.ts", *parts)
    with Running(tmp_path, "run", "a.ts", "--output", "v.mp4", "--summary", "s.json") as command:
        assert command.finish() == 0, command.err
    with av.open(str(tmp_path / "v.mp4")) as container:
        written = [packet.pts * packet.time_base for packet in container.demux(video=0) if packet.pts is not None]
    assert [float(moment) for moment in written[:8]] == pytest.approx(times, abs=0.002)
    assert [float(moment - written[8]) for moment in written[8:]] == pytest.approx(times, abs=0.002)
    assert 0 < written[8] - written[7] < 0.2
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert (facts["frames"], facts["persons"]) == (16, 1)
    assert facts["media_seconds"] == pytest.approx(1.25, abs=0.1)


def test_a_read_that_hangs_ends_by_itself() -> None:
    """It is replaced by then; its thread is not left behind."""
    hang = threading.Event()
    settings = QUICK.model_copy(update={"stall_timeout_s": 0.3, "read_timeout_s": 1.0})
    before = set(threading.enumerate())
    try:
        with serving(mjpeg(3, 0.02, then_hang=hang)) as port:
            with FrameReader(parse_source(f"http://127.0.0.1:{port}/"), settings) as reader:
                for _ in reader:
                    if reader.stats()["reconnects"] >= 2:
                        break
            until = time.monotonic() + 5
            while time.monotonic() < until and reading(before):
                time.sleep(0.05)
            assert not reading(before)
    finally:
        hang.set()


def reading(before: set[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "capture" and thread not in before]


def test_a_source_that_was_closed_holds_no_frames(tmp_path: Path) -> None:
    """Nor does its memory wait for the garbage to be collected, which counts objects, not their size."""
    spec = parse_source(str(write_clip(tmp_path / "a.mp4", [grey(90, 1280, 720)] * 3)))

    def play(times: int) -> None:
        for _ in range(times):
            with open_source(spec, SourceSettings(decode_threads=1)) as source:
                while source.read() is not None:
                    pass

    gc.disable()
    try:
        play(5)
        before = resident_bytes()
        play(20)
        after = resident_bytes()
    finally:
        gc.enable()
    assert before is not None
    assert after is not None
    assert after - before < 14_000_000  # ten frames
