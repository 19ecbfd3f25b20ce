"""The training loop: batches through what trains, a step of the optimizer after each, the best epoch kept.

Every random number of a step is named by the seed and the step, so a state dict needs no random state: who loads one
goes on as if nothing had happened.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from model_store.architectures import HEAD, Chain
from training_service.evaluate import Labels, Logits, cross_entropy
from training_service.features import batches
from training_service.pixels import Positions
from training_service.progress import Figures
from training_service.recipes import Keep, Optimizer, Recipe
from training_service.rows import Rows
from training_service.schedule import rate_factor
from training_service.seeds import derived_seed, generator

_EVALUATION_BATCH = 64


@dataclass(frozen=True)
class TrainingData:
    """Rows with their labels [n], and which of them to train on and to validate on."""

    rows: Rows
    labels: Labels
    train: Positions
    validation: Positions


class Trainer:
    """Trains a chain of stages, all of which but the frozen ones get gradients.

    The chain belongs to the trainer while it trains, and ends with the weights of the epoch that the recipe keeps.
    """

    def __init__(self, chain: Chain, data: TrainingData, recipe: Recipe, seed: int, device: torch.device) -> None:
        self._chain = chain
        self._data = data
        self._recipe = recipe
        self._seed = seed
        self._device = device
        self._optimizer = _optimizer(chain, recipe)
        self.steps_per_epoch = _num_batches(len(data.train), recipe.batch_size)
        self.num_steps = recipe.num_epochs * self.steps_per_epoch
        self.step = 0
        self._losses: list[float] = []
        self._best_loss = np.inf
        self._best_weights: dict[str, Tensor] = {}

    def train(self, on_progress: Callable[[Figures], None], check_going_on: Callable[[], None]) -> None:
        """Run what is left of all epochs; `check_going_on` ends the loop between steps by raising."""
        if self.step == 0:
            self._judge()
        while self.should_continue():
            check_going_on()
            self.train_step()
            on_progress(self._end_epoch() if self.step % self.steps_per_epoch == 0 else self._report())
        if self._recipe.keep is Keep.BEST:
            self._chain.load_state_dict(self._best_weights)
        self._chain.eval()

    def should_continue(self) -> bool:
        """Say whether a step is left."""
        return self.step < self.num_steps

    def train_step(self) -> None:
        """Take one step of the optimizer."""
        positions = self._batch()
        torch.manual_seed(derived_seed(self._seed, "dropout", self.step))
        self._set_training_mode()
        self._set_rates()
        inputs = self._data.rows.augmented(positions, generator(self._seed, "augmentation", self.step))
        labels = torch.from_numpy(self._data.labels[positions]).to(self._device)
        loss = nn.functional.cross_entropy(self._chain(inputs), labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's own stub
        self._optimizer.step()
        if self.step % self.steps_per_epoch == 0:
            self._losses.clear()
        self._losses.append(loss.item())
        self.step += 1

    def logits(self, positions: Positions) -> Logits:
        """Return logits [n, labels] of these rows as they are served."""
        self._chain.eval()
        with torch.inference_mode():
            parts = [self._chain(self._data.rows.plain(batch)).cpu() for batch in batches(positions, _EVALUATION_BATCH)]
        return torch.cat(parts).numpy()

    def state_dict(self) -> dict[str, Any]:
        """Return all that a later run needs to go on after this step; frozen stages are left out."""
        return {
            "step": self.step,
            "losses": list(self._losses),
            "weights": self._trained_weights(),
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "best_loss": self._best_loss,
            "best_weights": dict(self._best_weights),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned, for the same chain, data, recipe and seed."""
        self.step = state["step"]
        self._losses = list(state["losses"])
        self._chain.load_state_dict(state["weights"], strict=False)
        self._optimizer.load_state_dict(state["optimizer"])
        self._best_loss = state["best_loss"]
        self._best_weights = dict(state["best_weights"])

    def _batch(self) -> Positions:
        epoch, number = divmod(self.step, self.steps_per_epoch)
        order = torch.randperm(len(self._data.train), generator=generator(self._seed, "shuffle", epoch)).numpy()
        start = number * self._recipe.batch_size
        batch: Positions = self._data.train[order[start : start + self._recipe.batch_size]]
        return batch

    def _set_training_mode(self) -> None:
        self._chain.train()
        if self._recipe.freeze_batch_norm:
            for module in self._chain.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def _set_rates(self) -> None:
        factor = rate_factor(self.step, self.num_steps, self._recipe.schedule, self._recipe.warmup_fraction)
        for group in self._optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor

    def _report(self) -> Figures:
        epoch = (self.step - 1) // self.steps_per_epoch + 1
        return Figures(epoch, self._recipe.num_epochs, float(np.mean(self._losses)))

    def _end_epoch(self) -> Figures:
        accuracy, loss = self._judge()
        report = self._report()
        return Figures(report.epoch, report.num_epochs, report.loss, accuracy, loss)

    def _judge(self) -> tuple[float, float]:
        """Return accuracy and loss on validation rows, and remember these weights if none were better."""
        logits, labels = self.logits(self._data.validation), self._data.labels[self._data.validation]
        loss = cross_entropy(logits, labels)
        if self._recipe.keep is Keep.BEST and loss < self._best_loss:
            self._best_loss, self._best_weights = loss, self._weights()
        return float((logits.argmax(axis=1) == labels).mean()), loss

    def _weights(self) -> dict[str, Tensor]:
        return {key: tensor.clone() for key, tensor in self._chain.state_dict().items()}

    def _trained_weights(self) -> dict[str, Tensor]:
        frozen = {key for key, parameter in self._chain.named_parameters() if not parameter.requires_grad}
        return {key: tensor for key, tensor in self._weights().items() if key not in frozen}


def _optimizer(chain: Chain, recipe: Recipe) -> torch.optim.Optimizer:
    groups = [
        {"params": parameters, "full_lr": rate, "lr": rate}
        for parameters, rate in (
            ([p for _, stage in chain.backbone for p in stage.parameters() if p.requires_grad], _backbone_rate(recipe)),
            (list(chain.stage(HEAD).parameters()), recipe.learning_rate),
        )
        if parameters
    ]
    if recipe.optimizer is Optimizer.ADAMW:
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def _backbone_rate(recipe: Recipe) -> float:
    return recipe.learning_rate * recipe.backbone_learning_rate_factor


def _num_batches(num_rows: int, batch_size: int) -> int:
    """Count an epoch's batches; a last one of a single row is left out, as BatchNorm has no variance to divide by."""
    whole, rest = divmod(num_rows, batch_size)
    return max(whole + (rest > 1), 1)
