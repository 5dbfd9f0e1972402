"""Model folders: what is refused, and that the message says what to do about it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.inference.manifest import STAGES, Stage
from edge_app.inference.model import Model, models_dir, open_model, open_session
from edge_app.inference.ort import part
from tests.tiny_models import DETECTOR, manifest, tiny_detector, tiny_graph, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "tiny", tiny_graph())


def refused(call: Callable[[], object]) -> str:
    """The message of the ModelError that `call` ends with: one line, with the exit code of a model."""
    with pytest.raises(ModelError) as caught:
        call()
    assert caught.value.exit_code == 3
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_sound_folder_opens_and_runs(folder: Path) -> None:
    model = Model(folder)
    assert model.file("int8") == folder / "model.onnx"
    session = model.session("fp32")
    (logits,) = session.run(None, {"input": np.ones((3, 3, 112, 112), np.float32)})
    assert logits.tolist() == [[4, -4]] * 3


def test_threads_and_provider_are_those_asked_for(folder: Path) -> None:
    session = Model(folder).session("fp32", threads=2)
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_session_for_given_sizes_takes_no_others(folder: Path) -> None:
    network = (folder / "model.onnx").read_bytes()
    free, given = open_session(network), open_session(network, sizes={"batch": 2})
    assert [session.get_inputs()[0].shape for session in (free, given)] == [["batch", 3, 112, 112], [2, 3, 112, 112]]
    two, three = (np.ones((count, 3, 112, 112), np.float32) for count in (2, 3))
    assert np.array_equal(given.run(None, {"input": two})[0], free.run(None, {"input": two})[0])
    with pytest.raises(part("capi.onnxruntime_pybind11_state").InvalidArgument):
        given.run(None, {"input": three})


class TestManifest:
    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        message = refused(lambda: Model(tmp_path / "nowhere"))
        assert message.startswith(f"{tmp_path / 'nowhere' / 'manifest.json'}: no such file")
        assert "python -m export" in message

    def test_a_manifest_that_is_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "manifest.json").mkdir()
        assert "cannot be read" in refused(lambda: Model(tmp_path))

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"version https://git-lfs"])
    def test_not_json(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "manifest.json").write_bytes(content)
        assert "not valid JSON" in refused(lambda: Model(tmp_path))

    @pytest.mark.parametrize(
        ("change", "where"),
        [
            ({"task": "cat_detection"}, "task"),
            ({"labels": "mask"}, "labels"),
            ({"surprise": 1}, "surprise"),
            ({"files": {"fp32": {"file": "model.onnx"}}}, "files.fp32.sha256"),
            ({"thresholds": {"mask": "high"}}, "thresholds.mask"),
        ],
    )
    def test_the_field_that_does_not_fit_is_named(self, tmp_path: Path, change: dict[str, Any], where: str) -> None:
        (tmp_path / "manifest.json").write_text(json.dumps(manifest(b"") | change))
        assert f"manifest.json: {where}: " in refused(lambda: Model(tmp_path))

    def test_a_list_is_no_manifest(self, tmp_path: Path) -> None:
        (tmp_path / "manifest.json").write_text("[]")
        refused(lambda: Model(tmp_path))


class TestStage:
    @pytest.mark.parametrize("found", STAGES)
    @pytest.mark.parametrize("asked", STAGES)
    def test_only_models_that_have_come_far_enough_are_opened(self, tmp_path: Path, found: Stage, asked: Stage) -> None:
        folder = write_folder(tmp_path / "tiny", b"", stage=found)
        if STAGES.index(found) >= STAGES.index(asked):
            assert open_model(folder, "mask_classifier", asked).manifest.stage == found
            return
        message = refused(lambda: open_model(folder, "mask_classifier", asked))
        assert message.startswith(f"{folder / 'manifest.json'}: its stage is {found}, only {asked} may run here: ")
        assert f"python -m export promote`, or set classifier.stage to {found}" in message
        message = refused(lambda: open_model(folder, "face_detector", asked))
        assert f": set detector.stage to {found}" in message  # detectors are not promoted

    def test_a_manifest_without_stage_is_one_of_prod(self, folder: Path) -> None:
        manifest = open_model(folder, "mask_classifier", "prod").manifest
        assert (manifest.stage, manifest.history) == ("prod", [])


class TestFile:
    def test_missing(self, folder: Path) -> None:
        (folder / "model.onnx").unlink()
        message = refused(lambda: Model(folder).file("fp32"))
        assert "model.onnx: cannot be read (No such file or directory)" in message
        assert "restore the folder" in message

    @pytest.mark.parametrize("place", [0, 100, -1])
    def test_one_altered_byte(self, folder: Path, place: int) -> None:
        payload = bytearray((folder / "model.onnx").read_bytes())
        payload[place] ^= 1
        (folder / "model.onnx").write_bytes(payload)
        assert "SHA-256" in refused(lambda: Model(folder).session("fp32"))

    @pytest.mark.parametrize("change", [lambda b: b + b"\0", lambda b: b[:-1], lambda b: b""])
    def test_another_size(self, folder: Path, change: Callable[[bytes], bytes]) -> None:
        payload = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(change(payload))
        message = refused(lambda: Model(folder).session("fp32"))
        assert f"{len(change(payload))} bytes, expected {len(payload)}" in message

    def test_an_unknown_precision_lists_those_there_are(self, folder: Path) -> None:
        assert "no 'fp16' file; this model has: fp32, int8" in refused(lambda: Model(folder).file("fp16"))

    def test_a_link_inside_the_folder_is_followed_and_one_out_of_it_is_not(self, folder: Path, tmp_path: Path) -> None:
        network = folder / "model.onnx"
        network.rename(folder / "real.onnx")
        network.symlink_to("real.onnx")
        assert Model(folder).file("fp32") == network
        (folder / "real.onnx").rename(tmp_path / "outside.onnx")
        network.unlink()
        network.symlink_to("../outside.onnx")
        assert "model.onnx: a link that leads out of the model folder" in refused(lambda: Model(folder).file("fp32"))

    @pytest.mark.parametrize("kind", ["folder", "pipe", "circle", "device"])
    def test_what_is_no_file_is_refused_and_not_waited_for(self, folder: Path, kind: str) -> None:
        network = folder / "model.onnx"
        network.unlink()
        if kind == "folder":
            network.mkdir()
        elif kind == "pipe":
            os.mkfifo(network)
        else:
            network.symlink_to(network.name if kind == "circle" else "/dev/zero")
        refused(lambda: Model(folder).file("fp32"))

    def test_a_file_over_the_limit_is_not_read(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "tiny", b"")
        with (folder / "model.onnx").open("wb") as file:
            file.truncate(1 << 40)  # a hole: reading it would take all memory
        assert "1099511627776 bytes, expected 0" in refused(lambda: Model(folder).file("fp32"))

    def test_what_was_checked_is_what_is_loaded(self, folder: Path) -> None:
        model = Model(folder)
        before = model.content("fp32")
        (folder / "model.onnx").write_bytes(tiny_graph(weight=1.0))
        session = model.session("fp32")  # not read again
        (logits,) = session.run(None, {"input": np.ones((1, 3, 112, 112), np.float32)})
        assert logits.tolist() == [[4, -4]]
        assert model.network("fp32", "onnxruntime") is before


class TestSession:
    def test_a_provider_that_is_not_there_lists_those_that_are(self, folder: Path) -> None:
        message = refused(lambda: Model(folder).session("fp32", provider="MagicExecutionProvider"))
        assert "'MagicExecutionProvider' is not available" in message
        assert "CPUExecutionProvider" in message

    @pytest.mark.parametrize("payload", [b"", b"not a network", b"\x08\x08"])
    def test_the_right_file_that_is_no_network(self, tmp_path: Path, payload: bytes) -> None:
        assert "cannot load it" in refused(lambda: Model(write_folder(tmp_path, payload)).session("fp32"))

    @pytest.mark.parametrize(
        ("graph", "tensor"),
        [
            ({"size": 96}, "tensor input differs from the manifest's input"),
            ({"labels": 3}, "tensor logits differs from the manifest's logits"),
            ({"input_name": "data"}, "tensor data differs from the manifest's input"),
            ({"output_name": "scores"}, "tensor scores differs from the manifest's logits"),
        ],
    )
    def test_other_tensors(self, tmp_path: Path, graph: dict[str, Any], tensor: str) -> None:
        assert tensor in refused(lambda: Model(write_folder(tmp_path, tiny_graph(**graph))).session("fp32"))

    def test_another_rank(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path, tiny_graph(output_name="mean"))  # of (batch, 3, 1, 1)
        assert "tensor mean differs" in refused(lambda: Model(folder).session("fp32"))

    def test_an_output_too_many(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path, tiny_graph(more=("flat",)))
        assert "3 tensors, the manifest has 2" in refused(lambda: Model(folder).session("fp32"))

    def test_a_fixed_size_may_stand_for_a_free_one(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path, tiny_detector(size=("height", 320)), **DETECTOR)
        assert Model(folder).session("fp32").get_inputs()[0].shape == [1, 3, "height", 320]


class TestFolder:
    @pytest.fixture(autouse=True)
    def _afresh(self) -> Any:
        models_dir.cache_clear()
        yield
        models_dir.cache_clear()

    def test_the_environment_decides(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGE_APP_MODELS", str(tmp_path))
        assert models_dir() == tmp_path

    def test_otherwise_they_lie_beside_the_package_or_in_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("EDGE_APP_MODELS", raising=False)
        import edge_app

        package = Path(os.path.realpath(edge_app.__file__)).parent
        assert models_dir().resolve() in (package / "_models", package.parent / "models")
