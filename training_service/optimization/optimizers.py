"""Optimizers: one group of parameters for each stage that trains, each with its own share of the learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from model_store.architectures import HEAD, Chain
from training_service.recipes.recipe import Optimizer, Recipe
from training_service.recipes.stages import stage_rate

OptimizerState = dict[str, dict[str, Tensor]]
_SHARE = "share"
_FUSED_DEVICES = frozenset({"cpu", "cuda"})
_SECOND_BETA = 0.999


def make_optimizer(chain: Chain, stages: Sequence[str], recipe: Recipe) -> torch.optim.Optimizer:
    """Return an optimizer of these stages, first to last; stages that get no gradients yet cost nothing."""
    groups = [
        {"params": list(chain.stage(name).parameters()), _SHARE: share} for name, share in _shares(stages, recipe)
    ]
    fused = all(p.device.type in _FUSED_DEVICES for p in chain.parameters())
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer is Optimizer.ADAMW:
        betas = (recipe.beta1, _SECOND_BETA)
        return torch.optim.AdamW(groups, lr=rate, betas=betas, weight_decay=decay, fused=fused)
    return torch.optim.SGD(
        groups, lr=rate, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=decay, fused=fused
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the head's learning rate, and with it every stage's."""
    for group in optimizer.param_groups:
        group["lr"] = group[_SHARE] * rate


def optimizer_state(optimizer: torch.optim.Optimizer, module: nn.Module) -> OptimizerState:
    """Return copies of what the optimizer remembers, by the parameters' names; its groups follow from the recipe."""
    return {
        name: {key: value.clone() for key, value in optimizer.state[parameter].items() if isinstance(value, Tensor)}
        for name, parameter in module.named_parameters()
        if optimizer.state.get(parameter)
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, module: nn.Module, saved: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Take over copies of what `optimizer_state` returned."""
    optimizer.state.clear()
    for name, parameter in module.named_parameters():
        if name in saved:
            optimizer.state[parameter] = {key: _laid_out(value, parameter) for key, value in saved[name].items()}


def _shares(stages: Sequence[str], recipe: Recipe) -> Iterator[tuple[str, float]]:
    backbone = [name for name in stages if name != HEAD]
    for position, name in enumerate(backbone):
        yield name, stage_rate(recipe, len(backbone) - position)
    yield HEAD, stage_rate(recipe, 0)


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a copy that lies in memory as the parameter does, which fused optimizers rely on."""
    if value.shape != parameter.shape:
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter).copy_(value).detach()
