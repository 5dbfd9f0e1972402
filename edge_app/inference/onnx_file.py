"""Inputs, outputs and opset of an ONNX file, parsed before any loader sees it, and what is rejected in one.

An ONNX file is a protobuf message. Only the few messages below are walked, so this needs neither `onnx` nor a loader.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

MOST_FIELDS = 1_000_000  # ours have 3,000: the walk of a hostile file ends here, after a second
_DEEPEST = 12
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
FLOAT = 1  # TensorProto.DataType

# Message -> field number -> message in it. Numbers are those of onnx.proto3.
_MESSAGES: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 8: "Opset", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 9: "Opset", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 11: "Input", 12: "Output", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
}
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14  # of Tensor


class NotOnnx(Exception):
    """Why a file is not accepted, as part of a sentence."""


@dataclass
class Value:
    """An input or output as the graph declares it. A string in `shape` is a dynamic dimension; dtype: FLOAT, …"""

    name: str = ""
    dtype: int = 0
    shape: list[int | str] = field(default_factory=list)


@dataclass
class Network:
    """opset: of the standard operators; 0 where the file has none."""

    opset: int = 0
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)


def inspect(content: bytes, most_fields: int = MOST_FIELDS) -> Network:
    """Walk an ONNX file of at most `most_fields` fields.

    Raises:
        NotOnnx: no ONNX file, or one that keeps weights in other files: those lie outside its checksum.
    """
    walk = _Walk(most_fields)
    try:
        walk.message(memoryview(content), "Model", 0)
    except (IndexError, UnicodeDecodeError):
        raise NotOnnx("not an ONNX file, or only a part of one") from None
    network = walk.network
    if not network.outputs:
        raise NotOnnx("not an ONNX file: it has no outputs")
    if not all(value.name.isprintable() for value in (*network.inputs, *network.outputs)):
        raise NotOnnx("a name of a tensor that cannot be printed")
    network.inputs = [value for value in network.inputs if value.name.encode() not in walk.weights]
    return network


class _Walk:
    def __init__(self, most_fields: int) -> None:
        self.network = Network()
        self.weights = set[bytes]()  # names of the initializers, which old files list as inputs too
        self._fields, self._most_fields = 0, most_fields

    def message(self, data: memoryview, kind: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise NotOnnx("graphs in graphs")
        for number, wire, value in self.fields(data):
            inner = _MESSAGES.get(kind, {}).get(number)
            if kind == "Tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
                raise NotOnnx("it keeps weights in another file, outside its checksum; save it as one file")
            if kind == "Tensor" and number == _NAME and isinstance(value, memoryview):
                self.weights.add(bytes(value))
            if inner is None or wire != _BYTES or not isinstance(value, memoryview):
                continue
            if inner == "Opset":
                self.opset(value)
            elif inner in ("Input", "Output"):
                if depth == 1:
                    (self.network.inputs if inner == "Input" else self.network.outputs).append(self.value(value))
            else:
                self.message(value, inner, depth + 1)

    def fields(self, data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
        """Field number, wire type, and the value: a number, or the bytes of text and of messages."""
        place = 0
        while place < len(data):
            self._fields += 1
            if self._fields > self._most_fields:
                raise NotOnnx(f"more than {self._most_fields:,} fields")
            key, place = _varint(data, place)
            wire = key & 7
            value: int | memoryview = 0
            if wire == _VARINT:
                value, place = _varint(data, place)
            elif wire == _BYTES:
                size, place = _varint(data, place)
                value = data[place : place + size]
                place += size
            elif wire in (_FIXED32, _FIXED64):
                place += 4 if wire == _FIXED32 else 8
            else:
                raise NotOnnx("not an ONNX file")
            if place > len(data):
                raise IndexError
            yield key >> 3, wire, value

    def opset(self, data: memoryview) -> None:
        found = {number: value for number, _, value in self.fields(data)}
        domain, version = found.get(1, b""), found.get(2, 0)
        if not isinstance(domain, int) and bytes(domain) in (b"", b"ai.onnx") and isinstance(version, int):
            self.network.opset = max(self.network.opset, version)

    def value(self, data: memoryview) -> Value:
        """ValueInfoProto: name, type -> tensor_type -> elem_type and shape -> dim -> dim_value or dim_param."""
        found = Value()
        for number, wire, value in self.fields(data):
            if number == 1 and wire == _BYTES and not isinstance(value, int):
                found.name = str(value, "utf-8")
        for _, tensor in self._inner(data, 2, 1):
            for number, wire, value in self.fields(tensor):
                if number == 1 and wire == _VARINT and isinstance(value, int):
                    found.dtype = value
            found.shape += [self._size(dimension) for _, dimension in self._inner(tensor, 2, 1)]
        return found

    def _inner(self, data: memoryview, *path: int) -> Iterator[tuple[int, memoryview]]:
        """The messages at the end of a path of field numbers."""
        for number, wire, value in self.fields(data):
            if number == path[0] and wire == _BYTES and not isinstance(value, int):
                if len(path) == 1:
                    yield number, value
                else:
                    yield from self._inner(value, *path[1:])

    def _size(self, data: memoryview) -> int | str:
        size: int | str = ""
        for number, _, value in self.fields(data):
            if number in (1, 2):
                size = value if isinstance(value, int) else str(value, "utf-8")
        return size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value & 0xFFFF_FFFF_FFFF_FFFF, place
        shift += 7
        if shift > 63:
            raise NotOnnx("not an ONNX file")
