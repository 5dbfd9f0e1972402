"""The model card, generated from the manifest so that the two cannot disagree."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_app.inference.manifest import Manifest

CARD = "MODEL_CARD.md"


def write_card(folder: Path, manifest: Manifest) -> None:
    (folder / CARD).write_text("\n".join(_lines(folder, manifest)) + "\n", encoding="utf-8")


def _lines(folder: Path, m: Manifest) -> Iterator[str]:
    yield f"# {m.name} {m.version}"
    yield ""
    yield f"{m.training.get('purpose', m.task)}"
    yield ""
    yield "Generated from `manifest.json`; do not edit by hand."
    yield ""
    yield "## Files"
    yield ""
    yield "| precision | file | bytes | SHA-256 |"
    yield "| --- | --- | --- | --- |"
    for precision, file in m.files.items():
        yield f"| {precision} | {file.file} | {file.bytes:,} | `{file.sha256[:16]}…` |"
    yield ""
    yield f"Stage: {m.stage}. ONNX opset {m.opset}."
    yield ""
    yield "## Input and outputs"
    yield ""
    i = m.input
    yield (
        f"`{i.name}` {i.dtype} {i.shape} {i.layout}, {i.colour}, value = (pixel - {i.mean:g}) / {i.scale:g}. {i.resize}"
    )
    yield ""
    for output in m.outputs:
        yield f"- `{output.name}` {output.dtype} {output.shape}"
    yield ""
    yield f"Labels, in order: {', '.join(m.labels)}. Temperature {m.temperature:g}. Thresholds:"
    yield ""
    for name, value in m.thresholds.items():
        yield f"- {name}: {value:g}"
    yield ""
    yield "## Measured"
    yield ""
    yield from _tree(m.metrics, 0)
    yield ""
    yield "## Training"
    yield ""
    yield from _tree({k: v for k, v in m.training.items() if k not in ("purpose", "limits")}, 0)
    yield ""
    yield "## Limits"
    yield ""
    for limit in m.training.get("limits", []):
        yield f"- {limit}"
    if m.history:
        yield ""
        yield "## History"
        yield ""
    for s in m.history:
        approved = f"; approved: {s.approved}" if s.approved else ""
        yield f"- {s.time} {s.stage}, version {s.version}, measured on {s.n:,} faces of {s.data}{approved}"
    plots = sorted((folder / "plots").glob("*.png")) if (folder / "plots").is_dir() else []
    if plots:
        yield ""
        yield "## Plots"
        yield ""
        for plot in plots:
            yield f"![{plot.stem}](plots/{plot.name})"


def _tree(value: Any, depth: int) -> Iterator[str]:
    """A nested dictionary as an indented list; innermost dictionaries of plain values go on one line."""
    indent = "  " * depth
    for key, item in value.items():
        if isinstance(item, dict) and any(isinstance(v, dict) for v in item.values()):
            yield f"{indent}- {key}:"
            yield from _tree(item, depth + 1)
        elif isinstance(item, dict):
            yield f"{indent}- {key}: " + ", ".join(f"{k} {v}" for k, v in item.items())
        elif isinstance(item, list):
            yield f"{indent}- {key}: " + "; ".join(map(str, item))
        else:
            yield f"{indent}- {key}: {item}"
