"""From a checkpoint to a model folder of the detector: export, check, measure on val, write manifest, card, plots."""

import math
from pathlib import Path
from typing import Any

from edge_app.inference.manifest import FRAME_RESIZE
from edge_app.inference.model import models_dir
from export.common.engines import open_engine
from export.common.hyperparameters import KEY
from export.common.manifest import write_manifest
from export.common.release import CAUTION, command_line, recorded
from export.common.shared import shared_data
from export.common.training import Curve, load_checkpoint
from export.detector import evaluate as measure
from export.detector.hyperparameters import DEFAULTS
from export.detector.net import OUTPUTS, kernels_of, net_like
from export.detector.to_onnx import describe_teacher, export_detector

SIZES = (320, 640)  # detector input sizes that are measured
# Folder in `models`, name, and purpose.
DETECTOR = (
    "face_detector",
    "face_detector",
    "Finds faces, masked and bare alike; run by cv2.FaceDetectorYN or onnxruntime.",
)
TEACHER = (
    "face_detector/teacher",  # not a model of the runtime, so not beside those
    "face_teacher",
    "Teaches face detectors (`train-detector --teacher`); {} times as wide, too slow for boards.",
)
# Training options that its command shows where they differ.
USUAL = {"device": "cpu", "batch": DEFAULTS.batch, "times": 1}


def release_detector(run: Path, folder: Path | None = None, version: str = "1") -> dict[str, Any]:
    """Make `models/face_detector` from a training folder, or the folder teacher in it from that of a wider net. Gives
    the metrics that went into the manifest."""
    state = load_checkpoint(run / "checkpoint.pt") or {}
    times = net_like(kernels_of(state["average"])).times
    place, name, purpose = DETECTOR if times == 1 else TEACHER
    folder = folder or models_dir() / place
    data = shared_data() / "scenes"
    worst = export_detector(run / "checkpoint.pt", folder / "model.onnx")
    if times > 1:
        describe_teacher(folder / "model.onnx", times, state["spent"] / 60, state["device"])
    pictures = measure.read(data / "val.json", data / "images")
    results = {size: measure.evaluate(open_engine(folder / "model.onnx"), pictures, size) for size in SIZES}
    (folder / "plots").mkdir(exist_ok=True)
    measure.plot({f"{size} px": r for size, r in results.items()}, folder / "plots" / "recall.png")
    Curve(run / "curve.csv").plot(folder / "plots" / "training.png")
    (folder / "training.csv").write_bytes((run / "curve.csv").read_bytes())
    batch = state.get(KEY, state).get("batch", DEFAULTS.batch)  # older checkpoints have it beside the rest
    parts, start = " and ".join(map(str, state.get("averaged", []))), state.get("start")
    teachers, own = state.get("teachers", []), "models/face_detector/model.onnx"
    measured = {f"scenes/val, long side {s} px": _without_time(r.report()) for s, r in results.items()}
    write_manifest(
        folder,
        {"fp32": "model.onnx"},
        name=name,
        version=version,
        task="face_detection",
        input={
            "name": "input",
            "shape": [1, 3, "height", "width"],
            "colour": "BGR",
            "resize": FRAME_RESIZE,
        },
        outputs=[
            {
                "name": name,
                "shape": [1, f"cells_{name}", {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}[name.split("_")[0]]],
            }
            for name in OUTPUTS
        ],
        labels=["face"],
        # Rounded up, or a few more false positives would pass.
        thresholds={f"score@{s}": math.ceil(1e4 * r.threshold(measure.FALSE_RATE)) / 1e4 for s, r in results.items()},
        metrics={"torch against onnxruntime, largest difference": worst, **measured},
        training={
            "purpose": purpose.format(times),
            "data": [
                "scenes/train.json (kaggle-853, ilc-2021, modelarts-hard): 1,723 images, boxed by hand",
                "auto_bare.json: 663 photos and auto_street.json: 392 street frames, boxed by machine",
                "photos/train: 4,367 photos in which YuNet is sure of a face; landmarks everywhere come from YuNet",
                "boxes of all sets moved to end where those of ilc-2021 do",
                "windows are whole pictures labelled by hand (`whole_pictures`), mosaics or parts of a picture; in the "
                "latter two some bare faces get a synthetic mask or become the back of a head, and places and faces of "
                "other pictures are pasted; the shares are the hyperparameters below",
                "hard.csv: faces that no label marks, ignored (of train.json: to score below labelled ones); places "
                "where an earlier net erred, shown more often and, where no face is, pasted elsewhere",
            ],
            "caution": CAUTION,
            "command": command_line(
                "train-detector", own, "runs/wide/teacher.onnx", {**state, "batch": batch, "times": times}, USUAL
            ),
            **({"weights at the start": start} if start else {}),
            **({"learnt from": teachers} if teachers else {}),
            **({"where": state["where"]} if state.get("where") else {}),
            **({"weights": f"mean of those at {parts} (`python -m export average`)"} if parts else {}),
            **recorded(state),
            "steps": state.get("step"),
            "minutes": round(state.get("spent", 0) / 60, 1),
            "limits": [
                "Score thresholds are set on scenes/val at 0.05 false positives an image; it is also what is reported.",
                "Faces under 16 px in a picture of 640 px on its long side were not measured.",
                "Printed and painted faces may be found.",
            ],
        },
    )
    return measured


def _without_time(report: dict[str, Any]) -> dict[str, Any]:
    """Times depend on the machine, not on the model."""
    return {k: v for k, v in report.items() if k != "ms"}
