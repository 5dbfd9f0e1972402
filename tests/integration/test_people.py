"""Persons at low rates of frames, and in photos, which have nothing to do with each other. Real models, real pixels."""

import time
from collections import Counter
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edge_app.commands.pictures import judge
from edge_app.runtime.run import run
from tests.integration.test_pipeline import lines, playable_frames, settings
from tests.media import Pixels, grey, write_clip


class TestLowRates:
    @pytest.mark.parametrize("fps", [Fraction(1), Fraction(1, 2), Fraction(1, 10)])
    def test_a_person_is_told_at_any_rate(
        self, models: Path, astronaut: Pixels, tmp_path: Path, fps: Fraction, caplog: pytest.LogCaptureFixture
    ) -> None:
        clip = write_clip(tmp_path / "slow.mp4", [astronaut] * 10, fps=fps)
        summary = run(settings(clip, output={"events": tmp_path / "e.jsonl"}))
        assert (summary.persons, summary.verdicts["no_mask"]) == (1, 1)
        assert [event["type"] for event in lines(tmp_path / "e.jsonl")] == ["new", "end"]
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith(f"camera: about {float(fps):g} fps is too slow")

    def test_a_clip_too_short_for_a_verdict_says_so(
        self, models: Path, astronaut: Pixels, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        summary = run(settings(write_clip(tmp_path / "short.mp4", [astronaut] * 3)))
        assert summary.persons == 0
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.endswith("3 frames, it takes 4 (tracker.min_hits = 2, verdict.min_votes = 3)")


class TestPhotos:
    def test_a_folder_has_as_many_persons_as_its_pictures_have_faces(
        self, models: Path, astronaut: Pixels, masked: Pixels, tmp_path: Path
    ) -> None:
        """The same face in the same place, again and again: nobody is followed from one photo into the next."""
        folder = tmp_path / "photos"
        folder.mkdir()
        both = np.hstack([astronaut, masked])
        for number, picture in enumerate((astronaut, masked, both, grey(90, 512, 512), astronaut)):
            cv2.imwrite(str(folder / f"{number}.png"), picture)
        wanted = settings(folder, output={"events": tmp_path / "e.jsonl", "video": tmp_path / "v.mp4"})
        labels = Counter(
            face.label for picture in judge([folder], wanted, on_error=pytest.fail) for face in picture.faces
        )
        assert (labels["no_mask"], labels["mask"]) == (3, 2)
        summary = run(wanted)
        assert (summary.persons, summary.verdicts) == (5, {"unsure": 0, **labels})
        events = lines(tmp_path / "e.jsonl")
        assert [event["type"] for event in events] == [*["new", "end"] * 2, *["new"] * 2, *["end"] * 2, "new", "end"]
        assert len({event["track_id"] for event in events}) == len({event["id"] for event in events}) == 5
        assert playable_frames(tmp_path / "v.mp4") == 5

    def test_one_photo_is_enough_for_a_verdict(
        self, models: Path, masked: Pixels, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cv2.imwrite(str(tmp_path / "photo.png"), masked)
        assert run(settings(tmp_path / "photo.png")).verdicts["mask"] == 1
        assert caplog.text == ""


def test_a_time_stamp_outside_the_calendar_is_no_fault(models: Path, astronaut: Pixels, tmp_path: Path) -> None:
    """From one frame to the next the clip leaps into the year 30546."""
    clip = tmp_path / "leap.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *astronaut.shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(40):
            picture = av.VideoFrame.from_ndarray(astronaut, format="bgr24")
            picture.pts, picture.time_base = index * 40 + (index >= 20) * 901_700_000_000_000, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    files = {"events": tmp_path / "e.jsonl", "summary": tmp_path / "s.json", "video": tmp_path / "v.mp4"}
    summary = run(settings(clip, output=files))
    assert (summary.frames, summary.sink_errors, playable_frames(files["video"])) == (40, 0, 40)
    events = lines(files["events"])
    assert {event["type"] for event in events[:1] + events[-1:]} == {"new", "end"}
    for event in events:
        assert abs(datetime.fromisoformat(event["time"]).timestamp() - time.time()) < 600
