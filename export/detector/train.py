"""Train the face detector from scratch: read top to bottom, on the CPU, resumable.

python -m export train-detector --minutes 90 --out runs/detector
"""

import dataclasses
import functools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from edge_app.errors import UsageError, first_line
from export.common.from_onnx import kernels, load_onnx_weights, origin
from export.common.run import Run
from export.common.shared import shared_data
from export.common.training import load_checkpoint, once, seed_everything
from export.detector.augment import Sample
from export.detector.batches import Batches
from export.detector.data import DOUBTFUL, IGNORE, UNCOVERED, align_boxes, load_sets
from export.detector.hyperparameters import DEFAULTS, Hyperparameters
from export.detector.loss import distillation_loss, grid, loss
from export.detector.mining import apply_table, hard_file, read
from export.detector.net import (
    INPUT_SCALE,
    FaceNet,
    Net,
    PlainNet,
    flatten_maps,
    kernels_of,
    net_like,
)
from export.detector.scene import Scene
from export.detector.teachers import Teachers, fuse_norms, mixup
from export.detector.to_onnx import describe_teacher, export_detector

COMPILE_MINUTES = 10.0  # a compiled step is about 1.4 times as fast; compiling takes a minute for each window size


def collate(samples: list[Sample]) -> dict[str, Tensor]:
    """Samples -> uint8 images (B, 3, S, S), and flat lists of faces and of ignored regions with their picture's index;
    `uncovered`: faces whose nose or mouth shows, `doubtful`: regions with an unlabelled face."""
    rows: dict[str, list[Any]] = {
        k: [] for k in ("faces", "owner", "uncovered", "landmarks", "ignored", "ignored_owner", "doubtful")
    }
    for i, s in enumerate(samples):
        face = s.kinds > IGNORE
        rows["faces"].append(s.boxes[face])
        rows["uncovered"].append(s.kinds[face] == UNCOVERED)
        rows["landmarks"].append(s.landmarks[face])
        rows["owner"].append(np.full(face.sum(), i))
        rows["ignored"].append(s.boxes[~face])
        rows["ignored_owner"].append(np.full((~face).sum(), i))
        rows["doubtful"].append(s.kinds[~face] == DOUBTFUL)
    batch = {k: torch.from_numpy(np.concatenate(v)) for k, v in rows.items()}
    # Channels last in memory, as images are decoded and as CPU convolutions are fastest: no transposition.
    batch["images"] = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)
    return batch


def load_batches(
    sets: list[tuple[float, list[Scene]]], seed: int, hp: Hyperparameters, workers: int = 1, pin: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Endless batches, prefetched by `workers` processes; pin: into page-locked memory, for a GPU."""
    cv2.setNumThreads(1)  # a process forked while OpenCV's threads run may deadlock
    return iter(
        DataLoader(
            Batches(sets, seed, hp), None, num_workers=workers, collate_fn=collate, prefetch_factor=4,
            pin_memory=pin, multiprocessing_context="fork",  # fork: they share the decoded pictures
        )
    )  # fmt: skip


def training_scenes(cache: Path) -> list[tuple[float, list[Scene]]]:
    """`load_sets` of the shared data."""
    data = shared_data()
    return load_sets(data, data.parent / "peers" / "face_detection_yunet_2023mar.onnx", cache)


def load_released(
    file: Path, sets: list[tuple[float, list[Scene]]], seed: int, times: int = 1, hp: Hyperparameters = DEFAULTS
) -> Net:
    """The network of a released ONNX file, to be finetuned. Raises UsageError where it is no detector's, or not `times`
    as wide."""
    net = net_like(kernels(file))
    if times not in (1, net.times):
        raise UsageError(f"{file}: a network of another shape; expected one of --times {times}, or none given")
    windows = (collate(samples)["images"].float() for samples in islice(Batches(sets, seed, hp), 8))
    load_onnx_weights(net, file, windows, INPUT_SCALE)
    return net


def open_teacher(file: Path) -> Net:
    """The network of a released ONNX file, batch norms folded. Raises UsageError where it is no detector's."""
    net = fuse_norms(net_like(kernels(file)))
    load_onnx_weights(net, file, (), INPUT_SCALE)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return, unused-ignore]


def open_device(name: str) -> torch.device:
    """Raises UsageError where torch cannot compute on it."""
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch built without it raises the latter
        raise UsageError(f"--device {name}: {first_line(error)}; expected cpu, or cuda beside a GPU") from None


def train(
    out: Path, minutes: float, seed: int = 0, threads: int = 2, resume: bool = True,
    sets: list[tuple[float, list[Scene]]] | None = None, restart: bool = False, start: Path | None = None,
    teachers: Sequence[Path] = (), device: str = "cpu", workers: int = 1, times: int = 1, mix: bool = False,
    hyperparameters: Hyperparameters | None = None, clock: Callable[[], float] = time.monotonic,
) -> Path:  # fmt: skip
    """Train for `minutes` (all resumed runs together) and return the checkpoint's path.

    Args:
        out: folder for checkpoint, data cache and learning curve.
        threads: CPU threads of the training step.
        resume: from a checkpoint in `out`, if there is one; otherwise start anew.
        sets: weights and training scenes; None: all sets of the shared data.
        restart: warm restart of the schedule at the checkpoint's averaged net, with `restart` of the peak rate.
        start: ONNX file of an earlier detector to finetune, as with `restart`; None: from scratch.
        teachers: ONNX files of detectors to distil from beside the labels, see `Teachers`.
        device: where to train, as torch names it. workers: processes that prepare batches.
        times: width multiplier. 1: `FaceNet`; more: a `PlainNet`, a teacher: teacher.onnx is written to `out` too. A
            resumed run keeps its net, and a finetuned one that of the file, see `load_released`.
        mix: distil on a `mixup` of each batch too, which doubles the cost of a step.
        hyperparameters: None: those of the checkpoint of a resumed run, else `DEFAULTS`.
        clock: gives seconds; monotonic.

    Raises:
        UsageError: `start` or one of `teachers` is not a detector's file, there is no such device, or no teacher to
            `mix` for.
    """
    torch.set_num_threads(threads)
    # Validate the arguments first.
    if mix and not teachers:
        raise UsageError("--mix: no teacher to score the mixtures; expected --teacher ONNX with it")
    state = load_checkpoint(out / "checkpoint.pt") if resume else None
    torch_device = open_device(device)
    hp = hyperparameters or (None if restart else Hyperparameters.recorded(state)) or DEFAULTS
    start_origin, teacher_origins = origin(start) if start else None, [origin(file) for file in teachers]
    ensemble = (
        Teachers([open_teacher(file).to(torch_device, torch.bfloat16) for file in teachers]) if teachers else None
    )
    if sets is None:
        sets = training_scenes(out / "scenes.npz")
        every = [scene for _, scenes in sets for scene in scenes]
        apply_table(every, read(hard_file()))  # before the boxes are aligned
        align_boxes(every)
    with ThreadPoolExecutor() as pool:  # before the fork, or each worker would decode them again
        list(pool.map(Scene.image, (scene for _, scenes in sets for scene in scenes)))
    seed_everything(seed)
    where = [f"{device}, {hp.batch} windows of 320 px a step"]
    if state:
        net, start_origin = net_like(kernels_of(state["average"])), state.get("start")
        teacher_origins, where = once(state.get("teachers", []), teacher_origins), once(state.get("where", []), where)
    elif start:
        net = load_released(start, sets, seed, times, hp)
    else:
        net = FaceNet() if times == 1 else PlainNet(times=times)
    net = net.to(torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
    facts = {
        "start": start_origin, "teachers": teacher_origins, "mix": mix, "seed": seed, "device": device, "where": where,
    }  # fmt: skip
    torch.backends.cudnn.benchmark = True  # three window sizes, each used many times
    run = Run(out, net, hp, minutes, state, restart, facts, trained=start is not None, clock=clock)
    load = functools.partial(load_batches, sets, workers=workers, pin=torch_device.type == "cuda")
    batches, plain = load(seed * 1000 + run.step, hp), False
    forward: Callable[[Tensor], list[Tensor]] = net
    if torch_device.type == "cpu" and minutes - run.budget.spent / 60 >= COMPILE_MINUTES and shutil.which("g++"):
        forward = torch.compile(net, dynamic=False)
    for fraction in run:
        if not plain and fraction > 1 - hp.no_mosaics:
            batches, plain = load(seed * 1000 + run.step + 1, dataclasses.replace(hp, mosaics=0.0)), True
        given = {name: part.to(torch_device, non_blocking=True) for name, part in next(batches).items()}
        images = given.pop("images")
        seen = torch.cat([images, mixup(images, hp.mixup)]) if mix else images
        # bfloat16 convolutions train 2.7 times faster than float32 on CPUs that have them; the loss stays float32.
        with torch.autocast(torch_device.type, torch.bfloat16):
            maps = forward(seen)
            teacher_logits = ensemble(seen, run.step) if ensemble else None
        count, raw = len(images), flatten_maps(maps)  # (B, N, 16)
        if teacher_logits is not None:
            given["teacher_logits"] = teacher_logits[:count]
        parts = loss(raw[:count], grid((images.shape[2], images.shape[3]), raw.device), **given, hp=hp)
        if mix and teacher_logits is not None:
            parts["mixup"] = hp.distillation_weight * distillation_loss(raw[count:, :, :2], teacher_logits[count:])
        run.learn(parts)
    if net.times > 1:
        file = out / "teacher.onnx"
        export_detector(run.path, file)
        describe_teacher(file, net.times, run.budget.spent / 60, device)
    return run.path
