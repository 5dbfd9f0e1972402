"""The manifest is binding: whatever it says is used, or compared with what the runtime does, or refused."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edge_app.errors import ModelError
from edge_app.inference.manifest import MANIFEST_BYTES, Manifest, read_manifest
from edge_app.inference.model import RELEASED
from tests.tiny_models import CROPS, DETECTOR, FRAMES, HEAD_OUTPUTS, manifest

NAN, INF = float("nan"), float("inf")
HASH = "0" * 64


def refused(folder: Path, content: str | bytes) -> str:
    """What is said of a manifest with this content: one line."""
    data = content.encode() if isinstance(content, str) else content
    (folder / "manifest.json").write_bytes(data)
    with pytest.raises(ModelError) as caught:
        read_manifest(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'manifest.json'}: ")
    assert message.isprintable()
    return message


@pytest.mark.parametrize("name", ["face_detector", "mask_classifier", "face_detector/teacher"])
def test_the_released_ones_are_sound_and_written_again_as_they_are(models: Path, name: str) -> None:
    found = read_manifest(models / name)
    text = (models / name / "manifest.json").read_text(encoding="utf-8")
    assert json.dumps(found.model_dump(exclude_none=True), indent=2, ensure_ascii=False) + "\n" == text


def test_the_released_networks_are_those_known_to_the_runtime(models: Path) -> None:
    """Where this fails a model was replaced: list its hashes in `inference.model`, and it starts without a trial."""
    names = ("face_detector", "mask_classifier")
    assert {file.sha256 for name in names for file in read_manifest(models / name).files.values()} == RELEASED


FIELDS: list[tuple[str, Any]] = [
    ("name", ""), ("name", "a\x1b[31m"), ("name", "x" * 65), ("name", 5), ("version", "1\n2"), ("version", None),
    ("task", "cat_detection"), ("stage", "alpha"), ("opset", "17"), ("opset", 0), ("opset", 17.5), ("opset", 10**30),
    ("opset", True),
    ("files", {}), ("files", {"fp16": {"file": "m", "sha256": HASH, "bytes": 1}}),
    *(("files.fp32.file", name) for name in ("../x.onnx", "/etc/passwd", "a/b.onnx", "..", ".", "", "a\0b", "~/x", ".x",
                                             "C:\\x", "x\n.onnx", "x" * 300, 3)),
    *(("files.fp32.sha256", value) for value in ("", HASH[1:], HASH + "0", "A" * 64, HASH + "\n", 0)),
    *(("files.fp32.bytes", value) for value in (-1, 1 << 40, 1.5, "10", NAN)),
    *(("input.mean", value) for value in (0, 127, 127.50001, -127.5, "127.5", None, NAN, INF)),
    *(("input.scale", value) for value in (0, 1, 255, -127.5, 1e-300, NAN, -INF)),
    *(("input.crop_margin", value) for value in (1e9, 0, -1, None, 0.31, NAN)),
    ("input.colour", "BGR"), ("input.colour", "rgb"), ("input.layout", "NHWC"), ("input.dtype", "float16"),
    ("input.resize", "letterbox"), ("input.resize", ""), ("input.name", "in put"), ("input.surprise", 1),
    *(("input.shape", value) for value in ([], [1, 3, 112, 112], ["batch", 3, 112], ["batch", 1, 112, 112],
                                           ["batch", 3, 112, 96], ["batch", 3, "h", "w"], ["batch", 3, 0, 0],
                                           ["batch", 3, 112, 112, 1], ["batch", 3, 1 << 40, 1 << 40],
                                           ["batch", 3.0, 112, 112], ["batch", True, 112, 112], "batch")),
    ("outputs", []), ("outputs", [{"name": "logits", "shape": ["batch", 3]}]),
    ("outputs", [{"name": "logits", "shape": ["batch", 2], "dtype": "float64"}]),
    ("outputs", [{"name": "logits", "shape": ["batch", 2]}] * 2), ("outputs", [{"name": "logits", "shape": [2]}]),
    ("labels", ["no_mask", "mask"]), ("labels", ["mask"]), ("labels", []), ("labels", "mask"), ("labels", ["face"]),
    *(("thresholds", value) for value in ({}, {"mask": 0.5}, {"mask": 0.2, "no_mask": 0.8},
                                          {"mask": 1.1, "no_mask": 0.2}, {"mask": 0.8, "no_mask": -0.1},
                                          {"mask": NAN, "no_mask": 0.2}, {"mask": 0.8, "no_mask": 0.2, "beard": 0.5},
                                          {"mask": "0.8", "no_mask": 0.2}, {"mask": True, "no_mask": 0.2})),
    *(("temperature", value) for value in (0, -1, 1e-300, 1e300, NAN, INF, -INF, "1", None)),
    ("metrics", {"deep": [{"AP": NAN}]}), ("metrics", []), ("training", {"minutes": INF}), ("training", None),
    ("history", [{}]), ("history", {}), ("surprise", 1), ("threshold", 0.5),
]  # fmt: skip


def changed(field: str, value: Any, base: dict[str, Any]) -> dict[str, Any]:
    told = copy.deepcopy(base)
    *path, last = field.split(".")
    inside = told
    for part in path:
        inside = inside[part]
    inside[last] = value
    return told


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_a_field_that_does_not_fit_is_refused_and_named(tmp_path: Path, field: str, value: Any) -> None:
    told = changed(field, value, manifest(b"abc"))
    with pytest.raises(ValidationError):  # export, which writes by the same schema, cannot make it either
        Manifest.model_validate(told)
    text = json.dumps(told)
    message = refused(tmp_path, text)
    if "NaN" in text or "Infinity" in text:
        assert " is no number of JSON: " in message
    else:
        assert f"manifest.json: {field}" in message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"input": FRAMES | {"mean": 127.5}}, "input.mean: 127.5: the runtime's own is 0.0 and no other"),
        ({"input": FRAMES | {"colour": "RGB"}}, "input.colour: RGB: the runtime's own is BGR"),
        ({"input": FRAMES | {"crop_margin": 0.3}}, "input.crop_margin: 0.3"),
        ({"input": FRAMES | {"resize": CROPS["resize"]}}, "input.resize: Square crop"),
        ({"input": FRAMES | {"shape": [1, 3, 320, 320]}}, "input.shape: a face_detection model has"),
        ({"input": FRAMES | {"shape": ["n", 3, "h", "w"]}}, "input.shape: a face_detection model has"),
        ({"outputs": HEAD_OUTPUTS[1:]}, "outputs: a face_detection model has cls_8, "),
        ({"outputs": [*HEAD_OUTPUTS, HEAD_OUTPUTS[0]]}, "outputs: "),
        ({"outputs": [HEAD_OUTPUTS[0] | {"shape": [1, "cells", 2]}, *HEAD_OUTPUTS[1:]]}, "outputs: "),
        ({"labels": ["face", "hand"]}, "labels: a face_detection model has the labels face, in this order"),
        ({"thresholds": {"score@0": 0.5}}, "thresholds: 'score@0': expected score@SIZE"),
        ({"thresholds": {"score@320": 0.5, "other": 0.1}}, "thresholds: 'other': expected score@SIZE"),
        ({"thresholds": {"score@320": 1.5}}, "thresholds.score@320: "),
    ],
)
def test_what_a_detector_must_say(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    assert says in refused(tmp_path, json.dumps(manifest(b"", **DETECTOR | change)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"name": "a", "name": "b"}', "the key 'name' is there twice"),
        ('{"input": {"mean": 0, "mean": 1}}', "the key 'mean' is there twice"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": -Infinity}', "-Infinity is no number of JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"\\u001b[31m\\ud800": 1}', "manifest.json: "),
        ("\ufeff{}", "not valid JSON"),
        (b"\x80", "not valid JSON"),
        ("null", "manifest.json: "),
        ("3", "manifest.json: "),
    ],
)
def test_json_that_is_none_of_ours(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert says in refused(tmp_path, content)


def test_a_number_too_large_for_a_float_is_not_finite(tmp_path: Path) -> None:
    text = json.dumps(manifest(b"")).replace('"metrics": {}', '"metrics": {"AP": 1e999}')
    assert "metrics: inf is no finite number" in refused(tmp_path, text)


class TestFile:
    def test_a_huge_one_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        with (tmp_path / "manifest.json").open("wb") as file:
            file.truncate(1 << 40)  # a hole: reading it would take all memory
        with pytest.raises(ModelError, match=rf"cannot be read \(more than {MANIFEST_BYTES:,} bytes\)"):
            read_manifest(tmp_path)

    def test_a_pipe_nobody_writes_to_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "manifest.json")
        with pytest.raises(ModelError, match=r"cannot be read \(not a regular file\)"):
            read_manifest(tmp_path)

    @pytest.mark.parametrize("target", ["/dev/zero", "manifest.json"])
    def test_a_link_to_what_is_no_file(self, tmp_path: Path, target: str) -> None:
        (tmp_path / "manifest.json").symlink_to(target)
        with pytest.raises(ModelError, match="cannot be read"):
            read_manifest(tmp_path)
