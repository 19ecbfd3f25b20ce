"""The training loop: forward and backward passes, optimizer steps, validation after each epoch, the best epoch kept.

Every random number of a step is derived from the seed and the step, so that a state dict needs no random state: a run
that loads one continues bit by bit as an uninterrupted run. Rows that are read ahead depend on the step alone, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from model_store.architectures import HEAD, Chain
from model_store.errors import InvalidInput
from model_store.modalities import Batch, X
from training_service.arrays.read_ahead import read_ahead
from training_service.arrays.records import Positions
from training_service.features.frozen_features import batches
from training_service.modalities.prepared_rows import shortest_first
from training_service.optimization.averaging import moving_average, set_count
from training_service.optimization.mixing import mixed
from training_service.optimization.optimizers import load_optimizer_state, make_optimizer, optimizer_state, set_rate
from training_service.optimization.schedule import rate_factor
from training_service.recipes.recipe import ClassWeights, Keep, Precision, Recipe
from training_service.recipes.stages import active_stages
from training_service.seeds import derived_seed, generator
from training_service.tasks import TrainingTask
from training_service.tasks.training_task import Loss, Outputs, Targets, Validation
from training_service.training.best_epoch import BestEpoch
from training_service.training.heads import num_outputs
from training_service.training.progress import Figures
from training_service.training.row_order import RowOrder, StepBatch
from training_service.training.rows import TrainingRows

_EVALUATION_BATCH = 64


@dataclass(frozen=True)
class TrainingData:
    """Rows with their targets [n, …], as the task trains on them, and which of them to train and to validate on."""

    task: TrainingTask
    rows: TrainingRows
    targets: Targets
    train: Positions
    validation: Positions


class OnStep(Protocol):
    """The callback of each step; calling `figures` waits until the device has finished the step."""

    def __call__(self, figures: Callable[[], Figures], *, is_milestone: bool) -> None:
        """Report a step; a milestone ends an epoch, and its figures include validation."""


class Trainer:
    """Trains a chain of stages; stages without gradients at the start stay unchanged.

    The trainer owns the chain while it trains, and leaves it with the weights of the epoch that the recipe keeps.
    Training stops after an epoch whose loss or weights are not finite: `is_diverged`.
    """

    def __init__(self, chain: Chain, data: TrainingData, recipe: Recipe, seed: int, device: torch.device) -> None:
        self._chain = chain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stub
        self._data = data
        self._recipe = recipe
        self._seed = seed
        self._device = device
        self._trained = [name for name in chain.stage_names if _gets_gradients(chain.stage(name))]
        self._optimizer = make_optimizer(chain, self._trained, recipe)
        self._loss = _loss(chain, data, recipe)
        self._best = BestEpoch(keeps_weights=recipe.keep is Keep.BEST, patience=recipe.patience)
        self._average = moving_average(chain, recipe.average_decay) if recipe.average_decay else None
        self._order = RowOrder(data.train, recipe, seed, data.rows.lengths)
        self.steps_per_epoch = self._order.steps_per_epoch
        self.num_steps = recipe.epoch_count * self.steps_per_epoch
        self.step = 0
        self.is_diverged = False
        self._losses: list[Tensor] = []
        self._coming: Iterator[tuple[StepBatch, Batch]] | None = None

    def train(self, on_step: OnStep, check_going_on: Callable[[], None]) -> None:
        """Run the remaining steps; `check_going_on` stops the loop between steps by raising."""
        if not self._best.is_started:
            self._judge()
        while self.should_continue():
            check_going_on()
            self.train_step()
            if self.step % self.steps_per_epoch:
                on_step(self._figures, is_milestone=False)
            else:
                on_step(self._end_epoch(), is_milestone=True)
        self._chain.load_state_dict(self._best.weights or self._kept_tensors(), strict=False)
        self._chain.eval()

    def should_continue(self) -> bool:
        """Say whether a step is left, and training has neither diverged nor run out of patience."""
        return self.step < self.num_steps and not self._best.is_out_of_patience and not self.is_diverged

    @property
    def kept_epoch(self) -> int:
        """Which epoch's weights it ends with, from 1; 0 stands for those before the first step."""
        num_epochs = self.step // self.steps_per_epoch
        return num_epochs - self._best.num_worse if self._recipe.keep is Keep.BEST else num_epochs

    @property
    def num_worse_epochs(self) -> int:
        """How many epochs there were since the best one, or since the start."""
        return self._best.num_worse

    @property
    def best_loss(self) -> float:
        """Validation loss of the best epoch, or of the start where none was better."""
        return self._best.loss

    def train_step(self, rate: float | None = None) -> Tensor:
        """Take one step of the optimizer, at the recipe's learning rate or at this one.

        Returns the loss, float32 [], on the device, which may still be at work on it.
        """
        torch.manual_seed(derived_seed(self._seed, "dropout", self.step))
        self._set_training_mode()
        set_rate(self._optimizer, self._scheduled_rate() if rate is None else rate)
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._backward()
        if self._recipe.max_gradient_norm:
            nn.utils.clip_grad_norm_(self._chain.parameters(), self._recipe.max_gradient_norm)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self._chain)
        if self.step % self.steps_per_epoch == 0:
            self._losses.clear()
        self._losses.append(loss)
        self.step += 1
        return loss

    def outputs(self, positions: Positions) -> Outputs:
        """Return the head's outputs [n, outputs] for these rows, as they are served."""
        return self._outputs(self._chain, positions)

    def _outputs(self, chain: nn.Module, positions: Positions) -> Outputs:
        chain.eval()
        rows = self._data.rows
        with torch.inference_mode():
            order = shortest_first(rows.lengths, positions)
            read = read_ahead(rows.read, batches(positions[order], _EVALUATION_BATCH), self._device)
            parts = [chain(_laid_out(rows.inputs(batch))).cpu() for _, batch in read]
        return torch.cat(parts)[torch.from_numpy(order.argsort())].numpy()

    def state_dict(self) -> dict[str, Any]:
        """Return all that a later run needs to go on after this step: plain values, and copies of tensors.

        Stages that have not trained so far are left out.
        """
        keys = _tensors(self._chain, self._active(max(self.step - 1, 0))).keys()
        return {
            "step": self.step,
            "losses": [loss.item() for loss in self._losses],
            "weights": _chosen(_tensors(self._chain, self._trained), keys),
            "optimizer": optimizer_state(self._optimizer, self._chain),
            "average": _chosen(self._kept_tensors(), keys) if self._average is not None else {},
            "best": self._best.state_dict(),
            "best_weights": _chosen(self._best.weights, keys),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned, for the same chain, data, recipe and seed."""
        self.step = state["step"]
        self._coming = None
        self._losses = [torch.tensor(loss) for loss in state["losses"]]
        self._chain.load_state_dict(state["weights"], strict=False)
        load_optimizer_state(self._optimizer, self._chain, state["optimizer"])
        if self._average is not None:
            self._average.module.load_state_dict(state["average"], strict=False)
            set_count(self._average, self.step)
        # What has not trained by now was the base's in the best epoch, too.
        untouched = _tensors(self._chain, self._trained) if state["best_weights"] else {}
        self._best.load_state_dict(state["best"], {**untouched, **state["best_weights"]})

    @property
    def _kept(self) -> Chain:
        """The chain that is measured and kept: the one that trains, or the moving average of its weights."""
        return self._chain if self._average is None else cast("Chain", self._average.module)

    def _kept_tensors(self) -> dict[str, Tensor]:
        return _tensors(self._kept, self._trained)

    def _active(self, step: int) -> list[str]:
        """Return which stages train at a step; the head always does."""
        backbone = [name for name in self._trained if name != HEAD]
        return [*active_stages(backbone, self._recipe.epochs_per_stage, step // self.steps_per_epoch), HEAD]

    def _next_batch(self) -> tuple[StepBatch, Batch]:
        """Return the next batch and its rows; after a start, the first one of this step."""
        if self._coming is None:
            self._coming = read_ahead(self._read, self._order.batches_from(self.step), self._device)
        return next(self._coming)

    def _read(self, batch: StepBatch) -> Batch:
        return self._data.rows.read(batch.positions, self._generator(batch))

    def _generator(self, batch: StepBatch) -> torch.Generator:
        return generator(self._seed, "augmentation", batch.step, batch.number)

    def _backward(self) -> Tensor:
        """Add up the gradients of the mean loss over a step's rows, and return it; one batch runs at once."""
        total = torch.zeros((), device=self._device)
        num_left = 1
        while num_left:
            batch, rows = self._next_batch()
            loss = self._summed_loss(batch, rows) / batch.rows_in_step
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's own stub
            total += loss.detach()
            num_left = batch.num_in_step - batch.number - 1
        return total

    def _summed_loss(self, batch: StepBatch, rows: Batch) -> Tensor:
        """Return the loss of one batch, its rows varied and mixed as the recipe says."""
        recipe = self._recipe
        inputs = self._data.rows.inputs(rows, self._generator(batch))
        targets = torch.from_numpy(self._data.targets[batch.positions]).to(self._device)
        seed = derived_seed(self._seed, "mixing", batch.step, batch.number)
        if recipe.mixup_alpha or recipe.cutmix_alpha:
            if X not in inputs.tensors:
                raise InvalidInput.of(
                    "recipe", "mixes rows of numbers, and these are tokens: leave mixup and cutmix out"
                )
            x, targets = mixed(inputs.x, targets, num_outputs(self._chain.stage(HEAD)), recipe, seed)
            inputs = inputs.updated({X: x})
        with torch.autocast(self._device.type, torch.bfloat16, enabled=recipe.precision is Precision.BFLOAT16):
            outputs = self._chain(_laid_out(inputs))
        return self._loss(outputs, targets)

    def _set_training_mode(self) -> None:
        if self._recipe.epochs_per_stage:
            active = self._active(self.step)
            self._chain.freeze(name for name in self._chain.stage_names if name not in active)
        self._chain.train()
        if self._recipe.freeze_batch_norm:
            for module in self._chain.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def _scheduled_rate(self) -> float:
        recipe = self._recipe
        factor = rate_factor(self.step, self.num_steps, recipe.schedule, recipe.warmup_fraction)
        return recipe.learning_rate * factor

    def _figures(self) -> Figures:
        epoch = (self.step - 1) // self.steps_per_epoch + 1
        return Figures(epoch, self._recipe.epoch_count, torch.stack(self._losses).mean(dtype=torch.float64).item())

    def _end_epoch(self) -> Callable[[], Figures]:
        figures = self._figures().validated(self._data.task, self._judge())
        return lambda: figures

    def _judge(self) -> Validation:
        """Return how good these weights are on validation rows, and remember them if none were better."""
        outputs = self._outputs(self._kept, self._data.validation)
        found = self._data.task.validate(outputs, self._data.targets[self._data.validation])
        self.is_diverged = not (math.isfinite(found.loss) and self._has_finite_weights())
        self._best.take(found.loss, self._kept_tensors)
        return found

    def _has_finite_weights(self) -> bool:
        tensors = self._kept_tensors().values()
        return all(bool(tensor.isfinite().all()) for tensor in tensors if tensor.is_floating_point())


def _tensors(chain: Chain, stages: Sequence[str]) -> dict[str, Tensor]:
    """Return parameters and buffers of some stages by their names in the chain, sharing memory with it."""
    return {f"{name}.{key}": tensor for name in stages for key, tensor in chain.stage_tensors(name).items()}


def _chosen(tensors: Mapping[str, Tensor], keys: Iterable[str]) -> dict[str, Tensor]:
    return {name: tensors[name].clone() for name in keys if name in tensors}


def _gets_gradients(stage: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in stage.parameters())


def _laid_out(inputs: Batch) -> Batch:
    """Return feature maps channels last, which convolutions prefer; all else as it is."""
    maps = {name: tensor for name, tensor in inputs.tensors.items() if tensor.ndim == 4}
    return inputs.updated({name: each.contiguous(memory_format=torch.channels_last) for name, each in maps.items()})


def _loss(chain: Chain, data: TrainingData, recipe: Recipe) -> Loss:
    return data.task.make_loss(
        data.targets[data.train],
        num_outputs(chain.stage(HEAD)),
        smoothing=recipe.label_smoothing,
        is_balanced=recipe.class_weights is ClassWeights.BALANCED,
    )
