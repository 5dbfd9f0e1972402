"""The detector measured beside a peer, with the classifier and on close-ups: the real models on a real face."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.media import Pixels
from tests.workshop import leave, missing

if reason := missing("torch", "sklearn", "matplotlib"):
    leave(reason)

from edge_app.inference.model import Model
from edge_app.vision.detector import score_threshold
from export.__main__ import main
from export.common.engines import open_engine
from export.detector.evaluate import close_up, read

FACE = [165, 45, 120, 160]  # x, y, width, height of the astronaut's


@pytest.fixture
def coco(tmp_path: Path, astronaut: Pixels) -> Path:
    """The portrait, labelled bare; once more with the label mask, which is wrong; and a face where none is."""
    (tmp_path / "images").mkdir()
    picture = astronaut.copy()
    picture[400:, 400:] = 90
    cv2.imwrite(str(tmp_path / "images" / "a.png"), picture)
    boxes = [(1, FACE, 2), (2, FACE, 1), (2, [430, 430, 60, 60], 2)]
    data = {
        "images": [{"id": i, "file_name": "a.png", "width": 512, "height": 512} for i in (1, 2)],
        "annotations": [
            {"id": n, "image_id": i, "bbox": box, "category_id": c, "iscrowd": 0} for n, (i, box, c) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "mask"}, {"id": 2, "name": "no_mask"}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(data))
    return tmp_path / "labels.json"


def test_found_right_wrong_and_missed_are_told_apart(
    models: Path, coco: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    peer = models / "face_detector" / "model.onnx"
    monkeypatch.setattr("sys.argv", ["export", "evaluate-together", "--data", str(coco), "--peer", str(peer)])
    assert main() == 0
    told = json.loads(capfd.readouterr().out)
    for side in ("long side 320 px", "long side 640 px"):
        ours = told[side]["face_detector"]
        assert (ours["all"]["n"], ours["mask"]["n"], ours["no_mask"]["n"]) == (3, 1, 2)
        assert ours["all"]["found"] == pytest.approx(2 / 3, abs=1e-3)
        assert ours["no_mask"]["found and told right"] == 0.5
        assert (ours["mask"]["found and right by side"], ours["mask"]["found and told wrong"]) == (0, 1)
        assert set(told[side]) == {"face_detector", "model"}


def test_a_detector_beside_a_peer_that_is_itself(
    models: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    peer, plots = models / "face_detector" / "model.onnx", tmp_path / "plots"
    arguments = ["--data", str(coco), "--peer", str(peer), "--size", "320", "--plots", str(plots)]
    monkeypatch.setattr("sys.argv", ["export", "evaluate", "face_detector", *arguments])
    assert main() == 0
    told = json.loads(capfd.readouterr().out)
    both = told["long side 320 px"]
    shipped = both["face_detector"].pop("shipped threshold")
    assert shipped["mask"] == {"recall": 1.0, "n": 1}
    assert both["face_detector"]["faces"] == 3
    assert {k: v for k, v in both["face_detector"].items() if k != "ms"} == {
        k: v for k, v in both["model"].items() if k != "ms"
    }
    for row in told["ms, one thread, in turn, each at its threshold"].values():
        assert min(row["320x320"].values()) > 0
    assert told["engines"]["not within 1 px"] == 0
    gaps = told["landmarks beside model, in face widths"]
    assert (gaps["face_detector"]["n"], gaps["face_detector"]["median"]) == (2, 0)
    assert 0 < gaps["model at three quarters of the size"]["median"] < 0.1
    assert (plots / "recall-320.png").stat().st_size > 1000


def test_a_missing_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["export", "evaluate-together", "--data", str(tmp_path / "none.json")])
    assert main() == 2
    assert "none.json: no such file" in capfd.readouterr().err


def test_a_close_up_finds_the_face_and_not_the_wall(models: Path, coco: Path) -> None:
    folder = models / "face_detector"
    threshold = score_threshold(Model(folder).manifest, 320)
    told = close_up(open_engine(folder), read(coco, coco.parent / "images"), 320, threshold)
    assert told == {"mask": {"recall": 1.0, "n": 1}, "no_mask": {"recall": 0.5, "n": 2}}
    assert close_up(open_engine(folder), [], 320, 0.5) == {}


def test_a_close_up_shows_the_face_at_four_fifths(coco: Path) -> None:
    sides = []

    def see(frame: Pixels) -> np.ndarray:
        sides.append(frame.shape)
        rows = np.zeros((1, 15), np.float32)
        rows[0, :4], rows[0, 14] = (56, 24, 192, 256), 0.9  # 160 px high at 0.8 of 320, in the middle
        return rows

    told = close_up(see, read(coco, coco.parent / "images")[:1], 320, 0.5)
    assert sides == [(320, 320, 3)]
    assert told == {"no_mask": {"recall": 1.0, "n": 1}}
