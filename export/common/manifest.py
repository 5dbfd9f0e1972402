"""Write a model folder: files with their hashes, `manifest.json` checked against the runtime's schema, model card."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_app.inference.manifest import MANIFEST, Manifest, Stage, Step
from export.common.card import write_card

OPSET = 17


def entry(path: Path) -> dict[str, Any]:
    """The manifest entry of one file."""
    data = path.read_bytes()
    return {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def write_manifest(folder: Path, files: dict[str, str], **rest: Any) -> Manifest:
    """Write `manifest.json` and the card generated from it.

    Args:
        folder: the model folder.
        files: precision -> file name in the folder.
        rest: every other field of `edge_app.inference.model.Manifest`.

    Raises:
        pydantic.ValidationError: a field that the runtime would refuse.
    """
    manifest = Manifest.model_validate(
        {"files": {precision: entry(folder / name) for precision, name in files.items()}, "opset": OPSET, **rest}
    )
    save_manifest(folder, manifest)
    return manifest


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` atomically, and the card generated from it."""
    text = json.dumps(manifest.model_dump(exclude_none=True), indent=2, ensure_ascii=False)
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST)
    write_card(folder, manifest)


def step(manifest: Manifest, stage: Stage, metrics: dict[str, Any], n: int, data: str, approved: str | None) -> Step:
    """The history entry of a model that has just reached `stage`."""
    return Step(
        stage=stage,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        version=manifest.version,
        sha256={precision: file.sha256 for precision, file in manifest.files.items()},
        metrics=metrics,
        n=n,
        data=data,
        approved=approved,
    )
