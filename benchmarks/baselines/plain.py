"""The bare PyTorch loop of a tutorial: images from folders, a DataLoader with workers, SGD on all layers; prints JSON.

    python -m benchmarks.baselines.plain DATA [--architecture NAME] [--weights FILE] [--num-epochs 10] [--seed 0]

DATA holds the folders `train`, `validation` and `test`, each with one sub-folder of images for each label. Every epoch
trains on the first and looks at the second, as PyTorch's own tutorial on transfer learning does; the best epoch is
measured on the third. Nothing here is from maas but the line that lets torchvision be imported beside a CPU build.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader

from model_store.architectures.torchvision_compat import torchvision

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SPLITS = ("train", "validation")
_LOADER: dict[str, Any] = {"batch_size": 32, "num_workers": 2}


def main() -> None:
    """Train, and print what was measured."""
    given = _arguments()
    torch.manual_seed(given.seed)
    edge = given.edge
    data = {part: _images(given.data / part, edge, given.augment and part == "train") for part in _SPLITS}
    model = _model(given.architecture, len(data["train"].classes), given.weights)
    seconds = _train(model, data["train"], data["validation"], given.num_epochs)
    accuracy = _accuracy(model, DataLoader(_images(given.data / "test", edge, augment=False), **_LOADER))
    result = {"epoch_seconds": seconds, "num_images": len(data["train"]), "test_accuracy": accuracy}
    json.dump(result, sys.stdout)


def _train(model: nn.Module, train: Any, validation: Any, num_epochs: int) -> list[float]:  # noqa: ANN401  torchvision carries no types
    """Train all layers, keep the epoch that was best on validation images, and return the seconds of each."""
    train_loader, validation_loader = DataLoader(train, shuffle=True, **_LOADER), DataLoader(validation, **_LOADER)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    best_accuracy, best_weights = -1.0, model.state_dict()
    seconds = []
    for _ in range(num_epochs):
        start = time.perf_counter()
        model.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        accuracy = _accuracy(model, validation_loader)
        if accuracy > best_accuracy:
            best_accuracy, best_weights = accuracy, copy.deepcopy(model.state_dict())
        seconds.append(time.perf_counter() - start)
    model.load_state_dict(best_weights)
    return seconds


def _accuracy(model: nn.Module, loader: Any) -> float:  # noqa: ANN401  of any dataset
    model.eval()
    num_right = num_images = 0
    with torch.no_grad():
        for images, labels in loader:
            num_right += int((model(images).argmax(1) == labels).sum())
            num_images += len(labels)
    return num_right / num_images


def _images(folder: Path, edge: int, augment: bool) -> Any:  # noqa: ANN401, FBT001  torchvision carries no types
    transforms = torchvision.transforms
    if augment:
        steps = [transforms.RandomResizedCrop(edge), transforms.RandomHorizontalFlip()]
    else:
        steps = [transforms.Resize(edge * 8 // 7), transforms.CenterCrop(edge)]
    steps += [transforms.ToTensor(), transforms.Normalize(_MEAN, _STD)]
    return torchvision.datasets.ImageFolder(folder, transforms.Compose(steps))


def _model(architecture: str, num_labels: int, weights: Path | None) -> nn.Module:
    """Build torchvision's model; weights are those of the backbone, and the head is new."""
    model: nn.Module = torchvision.models.get_model(architecture, num_classes=num_labels)
    if weights is not None:
        missing, unknown = model.load_state_dict(load_file(weights), strict=False)
        assert not unknown
        assert {name.split(".")[0] for name in missing} <= {"classifier", "fc"}
    return model


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--architecture", default="mobilenet_v2")
    parser.add_argument("--weights", type=Path, help="a safetensors file by torchvision's names, without a head")
    parser.add_argument("--num-epochs", type=int, default=10)
    parser.add_argument("--edge", type=int, default=224, help="of the images, in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--augment", action="store_true", help="random crops and mirror images while training")
    return parser.parse_args()


if __name__ == "__main__":
    main()
