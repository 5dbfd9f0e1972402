"""Train the mask classifier: a thin ResNet on 112 px face crops, from scratch or finetuned, resumable.

python -m export train-classifier --minutes 45 --out runs/classifier
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import softmax
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from torchvision.models.resnet import BasicBlock, conv1x1

from edge_app.errors import UsageError, first_line
from edge_app.inference.model import open_session
from edge_app.inference.ort import onnxruntime as ort
from edge_app.vision.crops import CROP_SIZE, to_network_input
from export.classifier.augment import augment
from export.classifier.data import INCORRECT, MASK, NO_MASK, Faces, load_faces
from export.classifier.hyperparameters import DEFAULTS, Hyperparameters
from export.classifier.reviewed import JoinedFaces, added_faces
from export.common.from_onnx import load_onnx_weights, origin
from export.common.run import Run
from export.common.shared import shared_data
from export.common.training import load_checkpoint, seed_everything

LABELS = ["mask", "no_mask"]
# The widest that trains about twenty epochs in 45 minutes on one core; cost and accuracy of other shapes are in
# models/mask_classifier/RUNS.md.
WIDTH, BLOCKS = 32, 2


class MaskNet(nn.Module):
    """torchvision's ResNet with basic blocks ('Deep Residual Learning', 1512.03385), thinner.

    float32 (B, 3, S, S) RGB in -1..1 -> logits (B, 2) over mask, no_mask.

    width: channels of the first of four stages, each of the others has twice as many; blocks: of each stage.
    """

    def __init__(self, width: int = WIDTH, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)
        )
        layers: list[nn.Module] = []
        channels = width
        for stage in range(4):
            out = width * 2**stage
            for i in range(blocks):
                stride = 2 if stage and i == 0 else 1
                down = nn.Sequential(conv1x1(channels, out, stride), nn.BatchNorm2d(out)) if channels != out else None
                layers.append(BasicBlock(channels, out, stride, down))
                channels = out
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(channels, 2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, BasicBlock):
                nn.init.zeros_(
                    module.bn2.weight
                )  # each block starts as the identity (1812.01187), which speeds up early training

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.stem(x)))
        return logits


class Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches: float32 (B, 3, S, S) network input and float32 (B, 2) probabilities of the classes.

    Balanced sampling: a class, then a source by the square root of its size, then a face; else the largest set would
    dominate the class.

    teachers: ONNX classifiers of the same input and output; their mean probability is the soft target of knowledge
    distillation (1503.02531), with the weight `distillation`.
    """

    def __init__(self, faces: Faces, seed: int, hp: Hyperparameters = DEFAULTS, teachers: Sequence[Path] = ()) -> None:
        self.faces, self.seed, self.hp, self.teachers = faces, seed, hp, teachers
        shares = {MASK: hp.mask, NO_MASK: hp.no_mask, INCORRECT: hp.incorrect_mask}
        self.shares = {kind: share for kind, share in shares.items() if (faces.kinds == kind).any()}
        self.groups = {
            k: [np.flatnonzero((faces.kinds == k) & (faces.sources == s)) for s in np.unique(faces.sources)]
            for k in self.shares
        }

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng(self.seed)
        # Opened here, in the process that prepares batches: a session does not survive a fork.
        teachers = [open_teacher(file) for file in self.teachers]
        kinds, shares = np.array([*self.shares]), np.array([*self.shares.values()])
        while True:
            views = []
            for kind in rng.choice(kinds, self.hp.batch, p=shares / shares.sum()):
                donor = self.faces[self.pick(MASK, rng)] if kind == NO_MASK and MASK in self.groups else None
                views.append(augment(self.faces[self.pick(int(kind), rng)], donor, rng, self.hp))
            crops, targets = zip(*views, strict=True)
            x = to_network_input(np.stack(crops))
            target = np.eye(len(LABELS), dtype=np.float32)[list(targets)]
            if teachers:
                soft_targets = [softmax(session.run(["logits"], {"input": x})[0], axis=1) for session in teachers]
                target = (1 - self.hp.distillation) * target + self.hp.distillation * np.mean(soft_targets, 0)
            yield torch.from_numpy(x), torch.from_numpy(target)

    def pick(self, kind: int, rng: np.random.Generator) -> int:
        groups = [g for g in self.groups[kind] if len(g)]
        sizes = np.sqrt([len(g) for g in groups])
        return int(rng.choice(groups[rng.choice(len(groups), p=sizes / sizes.sum())]))


def open_teacher(file: Path) -> ort.InferenceSession:
    """A teacher to distil from.

    Raises:
        UsageError: not an ONNX file, or not of `MaskNet`'s input and output.
    """
    try:
        session = open_session(str(file))
        session.run(["logits"], {"input": np.zeros((1, 3, CROP_SIZE, CROP_SIZE), np.float32)})
    except Exception as error:  # onnxruntime raises many unrelated types
        raise UsageError(
            f"{file}: not a teacher ({first_line(error)}); expected an ONNX file made by train-teacher"
        ) from None
    return session


def train(
    out: Path, minutes: float, seed: int = 0, threads: int = 2, resume: bool = True, faces: Faces | None = None,
    width: int = WIDTH, add: Sequence[Path] = (), restart: bool = False, blocks: int = BLOCKS,
    start: Path | None = None, teachers: Sequence[Path] = (), hyperparameters: Hyperparameters | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Path:  # fmt: skip
    """Train for `minutes` (all resumed runs together) and return the checkpoint's path.

    Args:
        out: folder for checkpoint, crop cache and learning curve.
        threads: CPU threads of the training step; one more process prepares batches.
        resume: from a checkpoint in `out`, if there is one; otherwise start anew.
        faces: training faces; None: all sets of the shared data.
        width, blocks: of the network; a resumed run keeps its own.
        add: COCO files of further training faces, images/ beside each.
        restart: warm restart of the schedule at the checkpoint's averaged net, with `restart` of the peak rate.
        start: ONNX file of an earlier classifier to finetune, as with `restart`; None: from scratch.
        teachers: ONNX classifiers to distil from beside the labels, see `Batches`.
        hyperparameters: None: those of the checkpoint of a resumed run, else `DEFAULTS`.
        clock: gives seconds; monotonic.

    Raises:
        UsageError: a file in `add`, `start` or `teachers` that cannot be used.
    """
    torch.set_num_threads(threads)
    for file in teachers:  # validate the arguments first
        open_teacher(file)
    origins = {"start": origin(start) if start else None, "teachers": [origin(file) for file in teachers]}
    more = [added_faces(coco, out) for coco in add]
    faces = faces or load_faces(shared_data(), out / "faces")
    faces = JoinedFaces([faces, *more]) if more else faces
    state = load_checkpoint(out / "checkpoint.pt") if resume else None
    if state:
        width, blocks = state["width"], state["blocks"]
    hp = hyperparameters or (None if restart else Hyperparameters.recorded(state)) or DEFAULTS
    seed_everything(seed)
    net = MaskNet(width, blocks)
    if start and not state:
        load_onnx_weights(net, start, (x for x, _ in islice(Batches(faces, seed, hp), 8)))
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
    facts = {
        "width": width, "blocks": blocks, "seed": seed, "minutes": minutes, **origins,
        "added": [(coco.name, len(part)) for coco, part in zip(add, more, strict=True)],
    }  # fmt: skip
    run = Run(out, net, hp, minutes, state, restart, facts, trained=start is not None, clock=clock)
    fit(run, Batches(faces, seed * 100_000 + run.step, hp, teachers))
    return run.path


def fit(run: Run, source: Batches, bfloat16: bool = True) -> None:
    """Train the net of a run on batches, prefetched by one worker process, until its time is spent.

    bfloat16: its convolutions train 2 to 3 times faster than float32's on CPUs that have them.
    """
    batches = iter(DataLoader(source, None, num_workers=1, prefetch_factor=4))
    for _ in run:
        x, target = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = run.net(x.to(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), target, label_smoothing=source.hp.label_smoothing)
        run.learn({"loss": loss}, accuracy=float((logits.argmax(1) == target.argmax(1)).float().mean()))


def load(checkpoint: Path) -> MaskNet:
    """The averaged network of a checkpoint, in evaluation mode."""
    state = load_checkpoint(checkpoint)
    if state is None:
        raise FileNotFoundError(f"{checkpoint}: no checkpoint; train first with `python -m export train-classifier`")
    net = MaskNet(state["width"], state["blocks"])
    net.load_state_dict(state["average"])
    return net.eval()
