"""What is read of an ONNX file before a loader sees it, compared with what `onnx` reads."""

import random
from pathlib import Path
from typing import Any

import pytest

from edge_app.inference.onnx_file import NotOnnx, inspect
from tests.tiny_models import tiny_detector, tiny_graph
from tests.workshop import leave, missing

if reason := missing("onnx"):
    leave(reason)

import onnx


def external(name: str = "weights", place: str = "weights.bin") -> Any:
    """A tensor whose values lie in another file."""
    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[3, 2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    return tensor


def model() -> Any:
    return onnx.load_from_string(tiny_graph())


@pytest.mark.parametrize("name", ["face_detector/model.onnx", "mask_classifier/model.int8.onnx"])
def test_it_says_what_onnx_says(models: Path, name: str) -> None:
    content = (models / name).read_bytes()
    found, told = inspect(content), onnx.load_from_string(content)
    assert found.opset == next(each.version for each in told.opset_import if each.domain == "")
    for values, theirs in ((found.inputs, told.graph.input), (found.outputs, told.graph.output)):
        assert [(value.name, value.dtype, value.shape) for value in values] == [
            (
                value.name,
                value.type.tensor_type.elem_type,
                [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim],
            )
            for value in theirs
        ]


def test_weights_that_are_listed_as_inputs_are_none() -> None:
    told = model()
    told.graph.input.append(onnx.helper.make_tensor_value_info("weights", onnx.TensorProto.FLOAT, [3, 2]))
    assert [value.name for value in inspect(told.SerializeToString()).inputs] == ["input"]


class TestExternalData:
    """Wherever a tensor may stand in a model, one that points to a file is found."""

    def refuse(self, told: Any) -> None:
        with pytest.raises(NotOnnx, match="it keeps weights in another file"):
            inspect(told.SerializeToString())

    def test_an_initializer(self) -> None:
        told = model()
        told.graph.initializer.append(external())
        self.refuse(told)

    def test_one_with_the_mark_alone_and_one_with_the_place_alone(self) -> None:
        for clear in ("external_data", "data_location"):
            told, tensor = model(), external()
            tensor.ClearField(clear)
            told.graph.initializer.append(tensor)
            self.refuse(told)

    @pytest.mark.parametrize("field", ["values", "indices"])
    def test_a_sparse_initializer(self, field: str) -> None:
        told = model()
        getattr(told.graph.sparse_initializer.add(), field).CopyFrom(external())
        self.refuse(told)

    def test_an_attribute(self) -> None:
        told = model()
        told.graph.node.append(onnx.helper.make_node("Constant", [], ["c"], value=external()))
        self.refuse(told)
        told = model()
        told.graph.node[0].attribute.add(name="many", type=onnx.AttributeProto.TENSORS).tensors.append(external())
        self.refuse(told)

    def test_a_graph_in_an_attribute(self) -> None:
        for many in (False, True):
            told, inner = model(), onnx.helper.make_graph([], "inner", [], [], [external()])
            attribute = told.graph.node[0].attribute.add(name="then_branch")
            (attribute.graphs.add() if many else attribute.g).CopyFrom(inner)
            self.refuse(told)

    def test_a_function_and_a_training_graph(self) -> None:
        told = model()
        told.functions.add(name="f").node.append(onnx.helper.make_node("Constant", [], ["c"], value=external()))
        self.refuse(told)
        told = model()
        told.training_info.add().initialization.initializer.append(external())
        self.refuse(told)


class TestNotOnnx:
    @pytest.mark.parametrize("content", [b"", b"\x08", b"\x80" * 20, b"not a network", b"\x3a\x7f", b"\x0b\x0c"])
    def test_what_is_none(self, content: bytes) -> None:
        with pytest.raises(NotOnnx, match="not an ONNX file"):
            inspect(content)

    def test_half_of_one(self) -> None:
        content = tiny_graph()
        for length in range(0, len(content), 7):
            with pytest.raises(NotOnnx):
                inspect(content[:length])

    def test_graphs_in_graphs_end(self) -> None:
        told = model()
        for _ in range(200):
            outer = model()
            outer.graph.node[0].attribute.add(name="body").g.CopyFrom(told.graph)
            del outer.graph.initializer[:]
            told = outer
        with pytest.raises(NotOnnx, match="graphs in graphs"):
            inspect(told.SerializeToString())

    def test_more_parts_than_any_network_has(self) -> None:
        with pytest.raises(NotOnnx, match="it has no outputs"):
            inspect(b"\x08\x08" * 1000, most_fields=1000)
        with pytest.raises(NotOnnx, match="more than 1,000 fields"):
            inspect(b"\x08\x08" * 1001, most_fields=1000)

    def test_a_name_that_would_act_on_the_terminal(self) -> None:
        with pytest.raises(NotOnnx, match="cannot be printed"):
            inspect(tiny_graph(input_name="in\x1b[2J"))


def test_whatever_the_bytes_nothing_but_our_own_error_comes() -> None:
    chance, whole, refused = random.Random(7), tiny_detector(), 0
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            inspect(bytes(content[: chance.randrange(len(content)) if chance.random() < 0.2 else None]))
        except NotOnnx:
            refused += 1
    assert 60 < refused < 570
