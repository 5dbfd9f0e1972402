"""Read and validate a COCO file of labelled faces; errors are one line."""

import json
import math
from pathlib import Path
from typing import Any

from edge_app.errors import UsageError

PARTS = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


def read(path: Path) -> dict[str, Any]:
    """The file as parsed: `images`, `annotations` (bbox x, y, w, h in pixels) and `categories`, known to fit together.

    Raises:
        UsageError: no such file, not JSON, a part or a field that is missing or of a wrong type, an annotation of an
            image or category that is not in the file, or a box that is not four finite numbers.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; expected a COCO file (JSON), pictures in images/ beside it") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); expected a COCO file (JSON)") from None
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors alike, thousands of brackets
        raise UsageError(f"{path}: not a COCO file: not valid JSON ({str(error).splitlines()[0]})") from None
    for part, fields in PARTS.items():
        entries = data.get(part) if isinstance(data, dict) else None
        if not isinstance(entries, list):
            raise UsageError(f"{path}: not a COCO file: expected lists {', '.join(PARTS)}; {part} is missing")
        for place, entry in enumerate(entries):
            lacking = [f for f in fields if not isinstance(entry, dict) or f not in entry]
            if lacking:
                raise UsageError(f"{path}: {part}[{place}]: no {lacking[0]}; expected {', '.join(fields)}")
            wrong = [f for f in fields if f != "bbox" and not isinstance(entry[f], str if "name" in f else int)]
            if wrong:
                kind = "text" if "name" in wrong[0] else "an integer"
                raise UsageError(f"{path}: {part}[{place}]: {wrong[0]} is not {kind}")
    images, categories = ({entry["id"] for entry in data[part]} for part in ("images", "categories"))
    for place, note in enumerate(data["annotations"]):
        where = f"{path}: annotations[{place}]"
        if note["image_id"] not in images or note["category_id"] not in categories:
            raise UsageError(f"{where}: its image_id or category_id is not in the file; add it, or drop the annotation")
        box = note["bbox"]
        numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)
        if not numbers or not all(math.isfinite(v) for v in box):
            raise UsageError(f"{where}: bbox {box}: expected [x, y, width, height] in pixels")
    return data
