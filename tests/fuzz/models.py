"""Models: the shipped folders with damaged manifests, and with damaged networks whose checksum is right."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from edge_app.inference.model import models_dir
from tests.fuzz.command import Sandbox, one_error
from tests.fuzz.mutate import damaged
from tests.fuzz.pictures import portrait
from tests.fuzz.result import Result

BATCH = 1
CEILING_MIB = 2560  # the trial's 2 GiB and what a process has anyway
TRIAL_S = 25  # an endless network is ended after 6 s of CPU; on a busy machine that takes longer

_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2.5, 1e300, 10**40, float("nan"), float("inf"), "", "x", "fp32", "../x", "/dev/zero",
    "\x1b[2J",
    "\ud800", [], {}, [1], {"a": 1}, "x" * 10_000,
)  # fmt: skip


@cache
def _network(name: str) -> bytes:
    return (models_dir() / name).read_bytes()


# --- manifests ------------------------------------------------------------------------------------------------------


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every container in a JSON value with each of its keys."""
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [(node, key) for key, _ in items] + [place for _, value in items for place in _places(value)]


def _manifest(text: str, chance: random.Random) -> bytes:
    how = chance.randrange(10)
    if how == 0:
        return damaged(text.encode(), chance)
    if how == 1:  # a key twice, a number of JavaScript, brackets without end, more than is read
        key = chance.choice(("name", "files", "input", "temperature"))
        return chance.choice((
            text.replace("{", f'{{"{key}": 1,', 1), text.replace("1.0", "NaN", 1), "[" * 10**5, text + " " * 2_000_000,
            text.replace("17", "9" * 5000, 1), "\ufeff" + text, text.replace('"mean"', '"mean": 0, "mean"', 1),
        )).encode()  # fmt: skip
    told = json.loads(text)
    for _ in range(chance.choice((1, 1, 2))):
        shallow = (
            [place for place in _places(told) if "metrics" not in place[0]] if chance.random() < 0.8 else _places(told)
        )
        container, key = chance.choice(shallow or _places(told) or [(told, "x")])
        what = chance.randrange(4)
        if what == 0:
            container.pop(key)
        elif what == 1 and isinstance(container, dict):
            container[chance.choice(("surprise", "", key + "s"))] = chance.choice(_VALUES)
        elif what == 2 and isinstance(container[key], int | float):
            container[key] = chance.choice((-1, 0, 1e-9, 2, 1e9)) * container[key] + chance.choice((0, 1e-6, 1))
        else:
            container[key] = chance.choice(_VALUES)
    return json.dumps(told).encode("utf-8", errors="surrogatepass")


# --- networks -------------------------------------------------------------------------------------------------------


def _huge_sizes(model: Any, chance: random.Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    tensor.dims[:] = [chance.choice((0, 1, -1, 2**31, 2**62)) for _ in tensor.dims] or [2**40]


def _numbers(model: Any, chance: random.Random) -> None:
    """Weights that are no numbers, or other constants of shapes."""
    tensor = chance.choice(model.graph.initializer)
    if not tensor.raw_data:
        return
    values = np.frombuffer(tensor.raw_data, np.uint8).copy()
    wide = values[: len(values) // 4 * 4].view(np.float32)
    wide[chance.choice((slice(None), slice(0, 1)))] = chance.choice((np.nan, np.inf, 1e38, -1e38, 0))
    tensor.raw_data = values.tobytes()


def _types(model: Any, chance: random.Random) -> None:
    chance.choice(model.graph.initializer).data_type = chance.choice((0, 2, 6, 7, 8, 10, 16, 99))


def _short(model: Any, chance: random.Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]


def _attributes(model: Any, chance: random.Random) -> None:
    """Strides, pads, axes, groups and kernels that make no sense."""
    found = [attribute for node in model.graph.node for attribute in node.attribute]
    attribute = chance.choice(found)
    if attribute.type == AttributeProto.INTS and len(attribute.ints):
        attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice((-1, 0, 7, 2**31 - 1, 2**40, -(2**62)))
    elif attribute.type == AttributeProto.INT:
        attribute.i = chance.choice((-1, 0, 3, 2**31, 2**62))
    else:
        attribute.type = chance.choice((0, 1, 2, 3, 5, 7))


def _wiring(model: Any, chance: random.Random) -> None:
    """Nodes removed, doubled, connected in a circle, of another type."""
    nodes, how = model.graph.node, chance.randrange(5)
    node = chance.choice(nodes)
    if how == 0:
        nodes.remove(node)
    elif how == 1:
        nodes.append(node)
    elif how == 2 and len(node.input):
        node.input[0] = chance.choice(nodes).output[0]
    elif how == 3:
        node.op_type = chance.choice(
            ("Relu", "Loop", "If", "Reshape", "Softmax", "Nothing", "Expand", "NonZero", "Gemm")
        )
    else:
        node.domain = chance.choice(("com.microsoft", "com.example", "ai.onnx.ml"))


def _outside(model: Any, chance: random.Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    tensor.data_location = TensorProto.EXTERNAL
    place = chance.choice(("/etc/passwd", "../model.onnx", "model.onnx", "/dev/zero", "x"))
    tensor.external_data.add(key="location", value=place)
    if chance.random() < 0.5:
        tensor.ClearField("raw_data")


def _greedy(model: Any, chance: random.Random) -> None:
    """An input that is first made huge and small again, or counted for ever."""
    entry = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["greedy" if name == entry else name for name in node.input]
    size = chance.choice((30, 1000, 10**5, 2**40))
    steps = {
        "tile": ("Tile", np.array([1, 1, size, size])),
        "much": ("ConstantOfShape", np.array([size, size, size])),
        "wide": ("Expand", np.array([size, 1, 1, 1, 1, 1])),
    }
    name = chance.choice(sorted(steps))
    kind, value = steps[name]
    model.graph.initializer.append(numpy_helper.from_array(value.astype(np.int64), "sizes"))
    inputs = ["sizes"] if kind == "ConstantOfShape" else [entry, "sizes"]
    add = [helper.make_node(kind, inputs, ["big"]), helper.make_node("ReduceMax", ["big"], ["one"], keepdims=0),
           helper.make_node("Add", [entry, "one"], ["greedy"])]  # fmt: skip
    for node in reversed(add):
        model.graph.node.insert(0, node)


def _endless(model: Any, _chance: random.Random) -> None:
    entry, value = model.graph.input[0].name, helper.make_tensor_value_info
    for node in model.graph.node:
        node.input[:] = ["counted" if name == entry else name for name in node.input]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Sin", ["x"], ["y"])], "body",
        [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, None)],
        [value("still", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model.graph.initializer.extend([numpy_helper.from_array(np.array(10**15), "turns"),
                                    numpy_helper.from_array(np.array(True), "yes")])  # fmt: skip
    model.graph.node.insert(0, helper.make_node("Loop", ["turns", "yes", entry], ["counted"], body=body))


def _head(model: Any, chance: random.Random) -> None:
    """Versions, inputs and outputs as they are declared."""
    how = chance.randrange(5)
    if how == 0:
        model.opset_import[0].version = chance.choice((0, 1, 11, 18, 999, -1))
    elif how == 1:
        model.ir_version = chance.choice((0, 1, 99, 2**31))
    elif how == 2:
        chance.choice([*model.graph.input, *model.graph.output]).name = chance.choice(("", "x", "\x1b[2J", "logits"))
    elif how == 3:
        del model.graph.output[0]
    else:
        model.graph.input[0].type.tensor_type.elem_type = chance.choice((0, 2, 10, 11, 99))


_EDITS: tuple[Callable[[Any, random.Random], None], ...] = (
    _huge_sizes, _numbers, _numbers, _types, _short, _attributes, _attributes, _attributes, _wiring, _wiring, _outside,
    _greedy, _greedy, _head, _head,
)  # fmt: skip


def _damaged_network(content: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        return damaged(content, chance)
    model = onnx.load_from_string(content)
    if chance.random() < 0.05:
        _endless(model, chance)
    for _ in range(chance.choice((1, 1, 2))):
        chance.choice(_EDITS)(model, chance)
    return bytes(model.SerializeToString())


# --- folders --------------------------------------------------------------------------------------------------------


def make(number: int, chance: random.Random, folder: Path) -> Path:
    """Write model folder `number`, named by its task and engine; every twentieth is sound."""
    name = chance.choice(("face_detector", "mask_classifier"))
    engine = chance.choice(("opencv", "onnxruntime")) if name == "face_detector" else "int8"
    target = folder / f"{number}-{name}-{engine}"
    target.mkdir()
    portrait().save(folder / "portrait.png")
    text = (models_dir() / name / "manifest.json").read_text(encoding="utf-8")
    told = json.loads(text)
    for file in told["files"].values():
        shutil.copyfile(models_dir() / name / file["file"], target / file["file"])
    if number % 20 == 0:
        (target / "manifest.json").write_text(text, encoding="utf-8")
    elif chance.random() < 0.35:
        (target / "manifest.json").write_bytes(_manifest(text, chance))
    else:
        entry = told["files"]["int8" if "int8" in told["files"] else "fp32"]
        content = _damaged_network(_network(f"{name}/{entry['file']}"), chance)
        (target / entry["file"]).write_bytes(content)
        entry |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (target / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    return target


def judge(paths: list[Path], box: Sandbox, patience_s: float) -> Result:
    """Judge one picture with the model."""
    (path,) = paths
    number, name, engine = path.name.split("-")
    words = [f"{name.split('_')[1]}.model={path}", *([f"detector.engine={engine}"] if engine != "int8" else [])]
    done = box.run(
        ["image", box.inputs / "portrait.png", "--format", "jsonl", *(word for w in words for word in ("--set", w))],
        ceiling_mib=CEILING_MIB, patience_s=max(patience_s, TRIAL_S),
    )  # fmt: skip
    faults = one_error(done)
    if done.code not in (0, 3, None):
        faults.append(f"exit code {done.code}")
    if int(number) % 20 == 0 and done.code != 0:
        faults.append("a sound model is refused")
    try:
        for picture in done.json_lines():
            for face in picture["faces"]:
                if not (0 <= face["score"] <= 1 and 0 <= face["mask_probability"] <= 1):
                    faults.append(f"{face}")
    except (ValueError, KeyError) as error:
        faults.append(f"stdout is not JSON Lines: {error}")
    return Result.of(done, faults)
