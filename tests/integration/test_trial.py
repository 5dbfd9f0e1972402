"""Networks that crash, hang or fill the memory do so in a process of their own, and leave nothing behind."""

import importlib.util
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_app.config.settings import ClassifierSettings, DetectorSettings
from edge_app.errors import ModelError
from edge_app.inference import trial
from edge_app.inference.model import RELEASED, Model
from edge_app.inference.trial import Case, attempt
from edge_app.vision.classifier import MaskClassifier
from edge_app.vision.detector import open_detector
from tests.conftest import need
from tests.tiny_models import DETECTOR, tiny_detector, tiny_graph, write_folder

FACE = Case((1, 3, 112, 112), {"logits": (1, 2)}, -1, 1)


def constant(values: Any, name: str) -> Any:
    need(importlib.util.find_spec("onnx"), "onnx is missing: pip install onnx")
    from onnx import helper, numpy_helper

    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(values), name))


def endless() -> bytes:
    """A network that first counts to 10^18."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Sin", ["number"], ["next"]),
        ],
        "body",
        [
            value("turn", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("number", TensorProto.FLOAT, []),
        ],
        [value("still", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [])],
    )
    loop = helper.make_node("Loop", ["turns", "true", "zero"], ["counted"], body=body)
    return tiny_graph(
        before=[constant(10**18, "turns"), constant(True, "true"), constant(np.float32(0), "zero"), loop],
        more=("counted",),
    )


def huge() -> bytes:
    """A network that asks for 64 GB and writes to all of them."""
    from onnx import helper

    return tiny_graph(
        before=[constant([4_000_000, 4_000], "sizes"), helper.make_node("ConstantOfShape", ["sizes"], ["much"])],
        more=("much",),
    )


def test_a_sound_network_has_nothing_wrong() -> None:
    assert attempt(tiny_graph(), "onnxruntime", [FACE]) is None
    assert attempt(tiny_graph(), "opencv", [FACE]) is None


@pytest.mark.parametrize("engine", ["onnxruntime", "opencv"])
def test_what_is_no_network(engine: str) -> None:
    reason = attempt(b"not a network", engine, [FACE])
    assert reason
    assert reason.isprintable()


def test_an_output_of_another_shape() -> None:
    reason = attempt(tiny_graph(labels=3), "onnxruntime", [FACE])
    assert reason == "onnxruntime gives logits as [1, 3], expected [1, 2]"


def test_a_network_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TRIAL_S", 1)
    reason = attempt(endless(), "onnxruntime", [FACE])
    assert reason == "it takes longer than 1 s to load and run"


def test_a_network_that_wants_all_memory_is_refused_it() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest process that a test has started
    reason = attempt(huge(), "onnxruntime", [FACE])
    assert reason
    assert reason.startswith("[ONNXRuntimeError]")  # its own message, without a crash
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert peak == before or peak * 1024 < trial.MEMORY * 1.5


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_told_and_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The process of the trial runs a real crash, in place of a network that would cause one in some version only."""
    crash = tmp_path / "trial.py"
    crash.write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    monkeypatch.setattr(trial, "__file__", str(crash))
    monkeypatch.chdir(tmp_path)
    assert attempt(tiny_graph(), "onnxruntime", [FACE]) == f"it crashes, {number.name}"
    assert list(tmp_path.iterdir()) == [crash]


class TestModels:
    def test_a_classifier_of_ones_own_is_tried_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = Model(write_folder(tmp_path, tiny_graph()))
        model.session("fp32")
        monkeypatch.setattr(trial, "__file__", str(tmp_path / "gone"))
        model.session("fp32")
        with pytest.raises(ModelError, match="cannot load it and run it"):
            Model(tmp_path).session("fp32")

    def test_one_of_a_release_needs_no_trial(self, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(trial, "__file__", "gone")
        MaskClassifier(ClassifierSettings())
        open_detector(DetectorSettings())
        open_detector(DetectorSettings(engine="onnxruntime"))
        assert len(RELEASED) == 3

    @pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
    @pytest.mark.parametrize("size", [96, 800])
    def test_a_detector_of_ones_own_opens_at_any_size(self, tmp_path: Path, engine: str, size: int) -> None:
        folder = write_folder(tmp_path, tiny_detector(score=0.1), **DETECTOR)
        given = {"model": folder, "engine": engine, "input_size": size}
        open_detector(DetectorSettings.model_validate(given))

    def test_the_released_detector_would_pass(self, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edge_app.inference.model.RELEASED", ())
        released = Model(models / "face_detector")
        assert released.network("fp32", "opencv", 640) == released.network("fp32", "onnxruntime", 640)
        monkeypatch.setattr(trial, "__file__", "gone")
        with pytest.raises(ModelError, match="cannot load it and run it"):  # it was not passed over, then
            Model(models / "face_detector").network("fp32", "opencv", 640)

    def test_external_data_is_refused_before_any_loader(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from tests.unit.test_onnx_file import external, model

        told = model()
        told.graph.initializer.append(external(place=str(tmp_path / "secret")))
        monkeypatch.setattr(trial, "__file__", "gone")
        with pytest.raises(ModelError, match=r"edge_app cannot load it \(it keeps weights in another file"):
            Model(write_folder(tmp_path, told.SerializeToString())).session("fp32")

    def test_another_opset_than_the_manifest_says(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"model\.onnx: opset 17, the manifest has 18: restore"):
            Model(write_folder(tmp_path, tiny_graph(), opset=18)).session("fp32")
