"""Write a model folder: files with their hashes, `manifest.json` checked against the runtime's schema, model card."""

import hashlib
import json
from pathlib import Path
from typing import Any

from edge_app.models import MANIFEST, Manifest
from export.card import write_card

OPSET = 17


def entry(path: Path) -> dict[str, Any]:
    """What the manifest says of one file."""
    data = path.read_bytes()
    return {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def write_manifest(folder: Path, files: dict[str, str], **rest: Any) -> Manifest:
    """Write `manifest.json` and the card made from it.

    Args:
        folder: the model folder.
        files: precision -> file name in the folder.
        rest: every other field of `edge_app.models.Manifest`.

    Raises:
        pydantic.ValidationError: a field that the runtime would refuse.
    """
    manifest = Manifest.model_validate(
        {"files": {precision: entry(folder / name) for precision, name in files.items()}, "opset": OPSET, **rest}
    )
    text = json.dumps(manifest.model_dump(exclude_none=True), indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    write_card(folder, manifest)
    return manifest
