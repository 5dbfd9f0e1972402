"""Raise a mask classifier from stage to stage: beta (released) -> gamma -> prod (the one in `models/`).

A candidate is compared with the current model, on the same faces in the same run, with the int8 file that the runtime
uses. It passes where no metric fell (`paired.Change.fell`) and its int8 file is as good as its fp32 file and faster.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_app.errors import EdgeAppError, ModelError, UsageError
from edge_app.inference.manifest import MANIFEST, STAGES, Manifest, Stage
from edge_app.inference.model import Model
from export.classifier import evaluate as measure
from export.classifier.paired import Change, compare
from export.common.manifest import save_manifest, step

INT8_LOSS = 0.003  # accuracy that the int8 file may lose against fp32
PRECISIONS = ("fp32", "int8")
KEPT = ("RUNS.md",)  # written by hand beside the model, and kept when it is replaced


class Refused(EdgeAppError):
    """The candidate did not pass; nothing was changed."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Gate:
    """What was measured. changes: against the current model, none where there is no current model. accuracy: of the
    candidate's files. ms: a face at one thread.
    """

    changes: list[Change]
    accuracy: dict[str, float]
    ms: dict[str, float]

    def objections(self) -> list[str]:
        found = [str(change) for change in self.changes if change.fell]
        lost = self.accuracy["fp32"] - self.accuracy["int8"]
        if lost > INT8_LOSS + 1e-9:
            found.append(f"int8 loses {lost:.4f} accuracy against fp32, {INT8_LOSS:g} allowed")
        if self.ms["int8"] >= self.ms["fp32"]:
            found.append(f"int8 takes {self.ms['int8']:g} ms a face, no less than fp32 with {self.ms['fp32']:g} ms")
        return found

    def record(self) -> dict[str, Any]:
        changes = {change.metric: change.record() for change in self.changes}
        return changes | {"accuracy": {p: round(a, 4) for p, a in self.accuracy.items()}, "ms a face": self.ms}


def examine(candidate: Path, current: Path | None, faces: measure.Crops) -> Gate:
    """Measure a candidate beside the current model; None where there is none yet.

    Raises:
        ModelError: a folder that the runtime would refuse, or without both precisions.
    """
    masked = faces.labels == "mask"
    scores = {p: measure.probabilities(candidate, p, faces.crops) for p in PRECISIONS}
    changes = []
    if current:
        changes = compare(masked, measure.probabilities(current, "int8", faces.crops), scores["int8"])
    accuracy = {p: float(((s >= 0.5) == masked).mean()) for p, s in scores.items()}
    return Gate(changes, accuracy, measure.milliseconds(candidate))


def promote(
    candidate: Path, current: Path, faces: measure.Crops, data: str, stage: Stage = "prod", approve: str | None = None
) -> dict[str, Any]:
    """Give a candidate its next stage: gamma in its own manifest; prod by replacing the current model with a copy.

    Args:
        candidate: folder from `release`. current: the model folder of the runtime; need not be there yet.
        faces: measured on, and named `data` in the history. approve: the reason to promote despite objections.

    Returns:
        What was measured and done, as recorded in the manifest's history.

    Raises:
        Refused: an objection, and no approval. UsageError: nothing to promote, or faces of one class.
        ModelError: an unsound model folder, or one that cannot be replaced.
    """
    _restore(current)
    manifest = Model(candidate).manifest
    if candidate.resolve() == current.resolve():
        raise UsageError(f"{candidate}: already the model in use; give the folder of a candidate made by `release`")
    if stage != "prod" and STAGES.index(manifest.stage) >= STAGES.index(stage):
        raise UsageError(f"{candidate / MANIFEST}: its stage is {manifest.stage} already; go on with --stage prod")
    present = current if current.is_dir() else None
    before = Model(present).manifest if present else None
    if before and stage == "prod" and _same(before, manifest):
        raise UsageError(f"{candidate}: the same model is already in {current}; nothing to replace")
    if len({label == "mask" for label in faces.labels}) < 2:
        raise UsageError(f"{data}: all its faces are of one class; measure on masked and bare ones (--data)")
    gate = examine(candidate, present, faces)
    objections = gate.objections()
    if objections and not approve:
        raise Refused(
            f"{candidate}: not promoted to {stage}, nothing was replaced: {'; '.join(objections)}; measured on "
            f'{len(faces.labels):,} faces of {data}; to promote it all the same give --approve "reason"'
        )
    done = step(manifest, stage, gate.record(), len(faces.labels), data, approve if objections else None)
    history = [*manifest.history, done]
    if stage == "prod":
        inherited = [*before.history] if before else []
        install(candidate, current, manifest.model_copy(update={"stage": stage, "history": [*inherited, *history]}))
    else:
        save_manifest(candidate, manifest.model_copy(update={"stage": stage, "history": history}))
    return {"model": str(current if stage == "prod" else candidate), "objections": objections, **done.model_dump()}


def install(candidate: Path, current: Path, manifest: Manifest) -> None:
    """Put a copy of the candidate, with this manifest, where the current model is.

    The copy is made whole beside it and checked before two renames swap the folders, so at no moment does a folder
    hold files of two models. A crash between the renames leaves no current model; the next promotion puts it back.
    """
    fresh, old = _beside(current, "new"), _beside(current, "old")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        (fresh / "plots").mkdir(parents=True)
        for file in manifest.files.values():
            shutil.copyfile(candidate / file.file, fresh / file.file)
        for plot in sorted((candidate / "plots").glob("*.png")):
            shutil.copyfile(plot, fresh / "plots" / plot.name)
        extras = [candidate / "training.csv", *(current / name for name in KEPT)]
        for extra in filter(Path.is_file, extras):
            shutil.copyfile(extra, fresh / extra.name)
        save_manifest(fresh, manifest)
        model = Model(fresh)
        for precision in manifest.files:
            model.file(precision)
        if current.is_dir():
            current.rename(old)
        fresh.rename(current)
    except OSError as error:
        _restore(current)
        raise ModelError(f"{current}: cannot be replaced ({error.strerror}): check its permissions") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _same(a: Manifest, b: Manifest) -> bool:
    return (a.files, a.temperature, a.thresholds) == (b.files, b.temperature, b.thresholds)


def _beside(current: Path, what: str) -> Path:
    return current.with_name(f".{current.name}.{what}")


def _restore(current: Path) -> None:
    """Undo what a crash between the two renames of `install` left; a model that is there is left alone."""
    old = _beside(current, "old")
    if old.is_dir() and not current.exists():
        old.rename(current)
    elif old.is_dir():
        shutil.rmtree(old)
