"""Cameras over RTSP: a real server with real faults. How old a picture is, it says itself."""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from edge_app.records import Frame
from tests.command import Running, held, wait_until
from tests.media import Pixels
from tests.rtsp import age_s, camera, made_since, read_stamp, write_still
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.slow

QUICK = SourceSettings(
    open_timeout_s=5, read_timeout_s=2, stall_timeout_s=1.5, reconnect_min_s=0.1, reconnect_max_s=0.5
)
FRESH_S = 1.5  # far above what a sound reader needs, far below what a queue would come to
PATIENCE_S = 60.0
TIMES = 20 if os.environ.get("EDGE_APP_TEST_LONG") else 3


def frames_until(
    reader: FrameReader, enough: Callable[[Frame], object], seconds: float = PATIENCE_S, work_s: float = 0.0
) -> Iterator[Frame]:
    """Frames up to the first that is `enough`; a failure if none is in time, even if no frame comes at all."""
    alarm = threading.Timer(seconds, reader.stop)
    alarm.start()
    try:
        for frame in reader:
            yield frame
            if enough(frame):
                return
            time.sleep(work_s)
    finally:
        alarm.cancel()
    pytest.fail(f"waited {seconds:g} s in vain; {reader.stats()}")


def frame_until(reader: FrameReader, enough: Callable[[Frame], object], seconds: float = PATIENCE_S) -> Frame:
    *_, last = frames_until(reader, enough, seconds)
    return last


def recovered(reader: FrameReader, reconnects: int) -> None:
    """Wait for so many reconnects in all, and for a picture after it that is new."""
    frame_until(reader, lambda frame: reader.stats()["reconnects"] >= reconnects and age_s(frame.image) < FRESH_S)


def udp_sockets() -> int:
    return len(Path("/proc/net/udp").read_text(encoding="ascii").splitlines()) - 1


class TestFreshness:
    def test_slow_work_never_makes_the_picture_old(self) -> None:
        """80 ms a frame at 25 frames a second: a queue would be 4 s behind after 8 s."""
        with camera() as server, FrameReader(parse_source(server.url()), QUICK) as reader:
            end = time.monotonic() + 8
            ages = [
                age_s(frame.image) for frame in frames_until(reader, lambda frame: time.monotonic() > end, work_s=0.08)
            ]
            assert reader.stats()["dropped_frames"] > len(ages) / 4  # the work was indeed too slow for the camera
        assert len(ages) > 30
        early, late = np.median(ages[5:20]), np.median(ages[-15:])
        assert late < early + 0.5
        assert late < FRESH_S

    def test_the_delay_of_the_network_adds_to_the_age_once(self) -> None:
        with (
            camera() as server,
            TcpProxy(server.port, delay_s=0.4) as network,
            FrameReader(parse_source(server.url(port=network.port)), QUICK) as reader,
        ):
            end = time.monotonic() + 4
            ages = [age_s(frame.image) for frame in frames_until(reader, lambda frame: time.monotonic() > end)]
        assert 0.4 <= np.median(ages[-20:]) < 0.4 + FRESH_S


class TestTimes:
    def test_frames_have_the_times_at_which_they_were_taken(self) -> None:
        """However the network holds them up: as steady as the camera, and never later than they came."""
        with camera() as server, FrameReader(parse_source(server.url()), QUICK) as reader:
            end = time.monotonic() + 5
            frames = list(frames_until(reader, lambda frame: time.monotonic() > end))[25:]
        times = np.array([frame.time for frame in frames])
        assert np.median(np.diff(times)) == pytest.approx(1 / 25, abs=0.004)
        assert all(0 <= frame.captured_at - frame.time < 1 for frame in frames)

    def test_a_camera_that_says_how_long_it_is_is_live(self) -> None:
        """Some count the seconds since they started, or say what they have on their card."""
        said = b"a=range:npt=now-", b"a=range:npt=0-60"
        with camera() as server, TcpProxy(server.port, replaced=said) as network:
            url = server.url(port=network.port)
            with av.open(url, timeout=5, options={"rtsp_transport": "tcp"}) as container:
                assert container.duration == 60_000_000
            with FrameReader(parse_source(url), QUICK) as reader:
                assert reader.info.live
                assert reader.info.frame_count is None
                recovered(reader, 0)


class TestTransport:
    @pytest.mark.parametrize("transport", ["tcp", "udp"])
    def test_pictures_travel_as_asked_and_come_back_after_a_loss(self, transport: str) -> None:
        before = udp_sockets()
        settings = SourceSettings.model_validate(QUICK.model_dump() | {"rtsp_transport": transport})
        with camera() as server, FrameReader(parse_source(server.url()), settings) as reader:
            frame_until(reader, lambda frame: age_s(frame.image) < FRESH_S)
            assert (udp_sockets() > before) == (transport == "udp")
            server.kill()
            server.start()
            recovered(reader, 1)


class TestReconnecting:
    def test_a_camera_that_dies_again_and_again_is_found_again(self) -> None:
        with camera() as server, FrameReader(parse_source(server.url()), QUICK) as reader:
            before: dict[str, int] = {}
            for number in range(1, TIMES + 1):
                frame_until(reader, lambda frame: True)
                server.kill()
                server.start()
                recovered(reader, number)
                if number == 2:  # the first has started whatever is started once
                    before = held()
            wait_until(lambda: all(held()[what] <= before[what] for what in before), f"{held()} back to {before}", 10)
            assert reader.stats()["reconnects"] == TIMES

    @pytest.mark.parametrize("noticed_by", ["stall_timeout_s", "read_timeout_s"])
    def test_a_stalled_stream_is_noticed_and_taken_up_again(
        self, noticed_by: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The camera says nothing more, the connection stays: whichever limit is lower has to notice."""
        waits = {"stall_timeout_s": 15.0, "read_timeout_s": 15.0, noticed_by: 1.0}
        with camera() as server, FrameReader(parse_source(server.url()), QUICK.model_copy(update=waits)) as reader:
            frame_until(reader, lambda frame: True)
            server.say("pause")
            wait_until(lambda: "; reconnecting" in caplog.text, "the stall is told", 8)
            server.say("resume")
            recovered(reader, 1)

    @pytest.mark.parametrize("noticed_by", ["stall_timeout_s", "read_timeout_s"])
    def test_without_reconnecting_a_stalled_stream_is_lost_and_no_end(self, noticed_by: str) -> None:
        waits = {"stall_timeout_s": 15.0, "read_timeout_s": 15.0, noticed_by: 1.0, "reconnect": False}
        with camera() as server, FrameReader(parse_source(server.url()), QUICK.model_copy(update=waits)) as reader:
            frame_until(reader, lambda frame: True)
            server.say("pause")
            with pytest.raises(SourceError, match=r"/live: no frame for 1 s$"):
                frame_until(reader, lambda frame: False, 8)

    def test_a_stream_that_is_gone_for_a_while_is_found_when_it_is_offered_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """First no server at all, then one that answers 404, then the stream."""
        caplog.set_level(logging.DEBUG, "edge_app")
        with camera() as server, FrameReader(parse_source(server.url()), QUICK) as reader:
            frame_until(reader, lambda frame: True)
            server.kill()
            wait_until(lambda: caplog.text.count("connection refused") >= 3, "three attempts refused")
            server.start(mounted=False)
            wait_until(lambda: caplog.text.count("404") >= 2, "two attempts answered 404")
            assert reader.stats()["reconnects"] == 0
            server.say("mount")
            recovered(reader, 1)

    def test_a_camera_that_starts_after_us_is_waited_for(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "edge_app")
        with camera() as server:
            server.kill()
            threading.Timer(3.0, server.start).start()
            with FrameReader(parse_source(server.url()), QUICK.model_copy(update={"wait_s": 60.0})) as reader:
                frame_until(reader, lambda frame: age_s(frame.image) < FRESH_S)
        assert caplog.text.count("connection refused") >= 2

    def test_a_new_picture_size_in_midstream_goes_on(self) -> None:
        """Pictures come in the new size; a time that can be read says that nothing was cut off."""
        with camera() as server, FrameReader(parse_source(server.url()), QUICK) as reader:
            frame_until(reader, lambda frame: True)
            server.say("size 400x304")
            end = time.monotonic() + 3
            sizes = [
                frame.image.shape[:2]
                for frame in frames_until(reader, lambda frame: time.monotonic() > end)
                if read_stamp(frame.image) is not None
            ]
            assert reader.stats()["reconnects"] == 0
            assert age_s(frame_until(reader, lambda frame: True).image) < FRESH_S
        assert sizes[-1] == (304, 400)
        assert set(sizes) <= {(240, 320), (304, 400)}

    def test_a_new_rate_in_midstream_is_followed(self) -> None:
        with camera() as server, FrameReader(parse_source(server.url()), QUICK) as reader:
            counts = []
            for rate in (25, 5, 15):
                server.say(f"fps {rate}")
                frame_until(reader, lambda frame: True)
                end = time.monotonic() + 3
                frames = list(frames_until(reader, lambda frame, end=end: time.monotonic() > end))  # type: ignore[misc]
                assert age_s(frames[-1].image) < FRESH_S
                counts.append(len(frames))
            assert reader.stats()["reconnects"] == 0
        assert counts[1] < counts[2] < counts[0]


class TestBadNetwork:
    @pytest.mark.parametrize("fault", ["reset", "half-close", "silence"])
    def test_a_lost_connection_is_made_again(self, fault: str, caplog: pytest.LogCaptureFixture) -> None:
        with (
            camera() as server,
            TcpProxy(server.port, delay_s=0.05) as network,
            FrameReader(parse_source(server.url(port=network.port)), QUICK) as reader,
        ):
            for number in range(1, TIMES + 1):
                frame_until(reader, lambda frame: True)
                if fault == "reset":
                    network.cut(after_bytes=777)
                elif fault == "half-close":
                    network.half_close()
                else:
                    network.swallow = True
                wait_until(lambda n=number: caplog.text.count("; reconnecting") >= n, "the loss is told", 15)
                network.swallow = False
                recovered(reader, number)
            assert reader.stats()["reconnects"] == TIMES

    def test_lost_bytes_are_got_over(self) -> None:
        """The stream goes on in the middle of something: whether it is found again or made again, pictures come."""
        with (
            camera() as server,
            TcpProxy(server.port) as network,
            FrameReader(parse_source(server.url(port=network.port)), QUICK) as reader,
        ):
            for _ in range(TIMES):
                frame_until(reader, lambda frame: True)
                network.lose(7777)
                wait_until(lambda: not network.losing, "they are lost")
                lost_at = time.monotonic()
                frame_until(reader, lambda frame, since=lost_at: made_since(frame.image, since))  # type: ignore[misc]


LOGIN, PASSWORD = "viewer:pa%24%24-w0rd", "pa$$-w0rd"
CLI = ("--set", "source.open_timeout_s=5", "--set", "source.stall_timeout_s=2", "--set", "source.reconnect_max_s=0.5")


@pytest.mark.usefixtures("models")
class TestCommandLine:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
    @pytest.mark.parametrize("cameras", [1, 2])
    def test_a_stop_while_waiting_for_a_camera_is_no_failure(
        self, tmp_path: Path, number: signal.Signals, code: int, cameras: int
    ) -> None:
        with camera() as server:
            url = server.url()
        sources = ", ".join(f"{{camera: c{i}, uri: '{url}'}}" for i in range(cameras))
        what = (url,) if cameras == 1 else ("--set", f"sources=[{sources}]")
        with Running(tmp_path, "run", *what, "--set", "source.wait_s=60", *CLI) as command:
            command.wait_until(lambda: command.err.count("trying again") == cameras, "the waiting is told")
            assert command.finish(number) == code, command.err
        assert "error" not in command.err
        assert "Traceback" not in command.err

    def test_the_password_opens_the_stream_and_is_never_shown(self, tmp_path: Path, astronaut: Pixels) -> None:
        """Through a loss, too: what is logged then names the source. The portrait is there to make events."""
        still, folder = write_still(tmp_path / "portrait.i420", astronaut), tmp_path / "run"
        folder.mkdir()
        outputs = ("--events", "e.jsonl", "--summary", "s.json", "--output", "v.mp4")
        with (
            camera("512x512", f"viewer:{PASSWORD}", still) as server,
            Running(folder, "run", server.url(LOGIN), *outputs, *CLI) as command,
        ):
            command.wait_until(lambda: (folder / "v.mp4").exists(), "the stream is open")
            command.wait_until(lambda: b'"new"' in (folder / "e.jsonl").read_bytes(), "a person is told")
            server.kill()
            command.wait_until(lambda: "reconnecting" in command.err, "the loss is told")
            server.start()
            command.wait_until(lambda: "back after" in command.err, "the camera is back")
            assert command.finish(signal.SIGTERM) == 0, command.err
        facts = json.loads((folder / "s.json").read_text(encoding="utf-8"))
        assert facts["reconnects"] == 1
        assert facts["persons"] >= 1
        assert facts["source"] == f"rtsp://***@127.0.0.1:{server.port}/live"
        for path in folder.iterdir():
            content = path.read_bytes()
            assert b"w0rd" not in content, path.name
            assert b"viewer" not in content, path.name

    @pytest.mark.parametrize("login", ["viewer:wr0ng-w0rd", ""])
    def test_a_wrong_or_missing_password_is_one_line(self, tmp_path: Path, login: str) -> None:
        with (
            camera(login=f"viewer:{PASSWORD}") as server,
            Running(tmp_path, "run", server.url(login), *CLI) as command,
        ):
            assert command.finish() == 4
        (line,) = command.err.splitlines()
        assert line.startswith("error: ")
        assert "user name or password (401)" in line
        assert "w0rd" not in line
        assert command.out == ""

    def test_a_camera_that_comes_back_with_another_size_goes_on_in_the_same_video(self, tmp_path: Path) -> None:
        video = tmp_path / "v.mp4"
        with camera("640x480") as server, Running(tmp_path, "run", server.url(), "--output", video, *CLI) as command:
            command.wait_until(lambda: video.exists() and b"moof" in video.read_bytes(), "some video")
            before = video.stat().st_size
            for number, size in enumerate(("320x240", "1280x720"), start=1):
                server.kill()
                server.size = size
                server.start()
                command.wait_until(lambda n=number: command.err.count("back after") == n, f"{size} is seen")
                size_then = video.stat().st_size
                command.wait_until(lambda s=size_then: video.stat().st_size > s, f"{size} is written")
            assert command.finish(signal.SIGTERM) == 0, command.err
        assert video.stat().st_size > before
        assert not (tmp_path / "v-2.mp4").exists()
        with av.open(str(video)) as container:
            shown = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
        assert {image.shape for image in shown} == {(480, 640, 3)}
        stamps = [stamp for image in shown if (stamp := read_stamp(image)) is not None]
        assert len(stamps) > 0.5 * len(shown)
        assert stamps == sorted(stamps)
