"""Fine-tuning: the last stages, or all of them, trained by gradients behind a frozen prefix of the chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from model_store.architectures import HEAD, Chain
from training_service.evaluate import Labels
from training_service.features import batches
from training_service.heads import Features, HeadFitter, load_head
from training_service.linear_probe import best_candidate, linear_probe
from training_service.pixels import Positions
from training_service.progress import Figures
from training_service.recipes import HeadStart, Recipe, RecipeName
from training_service.rows import ActivationRows, PixelRows, Rows
from training_service.trainer import Trainer, TrainingData
from training_service.workbench import DECODING, EVALUATING, FEATURES, FITTING, TRAINING, FineTuned, Workbench


def phase_weights(recipe: Recipe) -> dict[str, float]:
    """Return the phases of a recipe, and about which share of the time each takes."""
    if recipe.name is RecipeName.LINEAR_PROBE:
        return {DECODING: 0.15, FEATURES: 0.65, FITTING: 0.18, EVALUATING: 0.02}
    weights = {DECODING: 0.1, FEATURES: 0.1, FITTING: 0.05, TRAINING: 0.7, EVALUATING: 0.05}
    if recipe.head_start is HeadStart.RANDOM:
        del weights[FITTING]
    return weights


def fine_tune(chain: Chain, recipe: Recipe, trained: Sequence[str], bench: Workbench) -> FineTuned:
    """Run a recipe that trains these backbone stages, and the head; the chain is changed in place.

    The chain holds the base's backbone and a fresh head. Stages before the first trained one stay in eval mode and are
    run once over the data; what comes out is measured on the test rows.
    """
    chain = chain.to(bench.device)
    if not trained:
        return linear_probe(chain, recipe, bench)
    first = chain.stage_names.index(trained[0])
    rows = _rows(chain, first, recipe, bench)
    suffix = Chain([(name, chain.stage(name)) for name in chain.stage_names[first:]]).freeze(())
    saved = bench.saved_state()
    hyperparameters = dict(saved["hyperparameters"]) if saved else _hyperparameters(suffix, rows, recipe, bench)
    trainer = _trainer(suffix, rows, recipe, bench)
    if saved:
        trainer.load_state_dict(saved["trainer"])
    _train(trainer, hyperparameters, recipe, bench)
    bench.begin(EVALUATING)
    metrics = bench.measured(trainer.logits(bench.test), trainer.logits(bench.validation))
    return FineTuned(chain.eval(), (*trained, HEAD), metrics, hyperparameters)


def _hyperparameters(suffix: Chain, rows: Rows, recipe: Recipe, bench: Workbench) -> dict[str, Any]:
    """Prepare what trains for its first step, and return all that the recipe came to."""
    hyperparameters = recipe.to_json()
    if recipe.head_start is HeadStart.LINEAR_PROBE:
        hyperparameters["head_start_strength"] = _start_head(suffix, rows, bench)
    return hyperparameters


def _rows(chain: Chain, first: int, recipe: Recipe, bench: Workbench) -> Rows:
    if first == 0:
        return PixelRows(bench.data.pixels, bench.spec, recipe.augmentation, bench.device)
    frozen = [chain.stage(name) for name in chain.stage_names[:first]]
    plain, mirrored = bench.activations(frozen, bench.train)
    return ActivationRows(plain, mirrored, bench.device)


def _start_head(suffix: Chain, rows: Rows, bench: Workbench) -> float:
    """Give the head the weights of a linear probe, and return its strength: steps then refine what is good already."""
    train, validation = (_embedded(suffix, rows, positions, bench) for positions in (bench.train, bench.validation))
    best = best_candidate(HeadFitter(train[0]), train, validation, bench)
    load_head(suffix.stage(HEAD), best.head)
    return best.strength


def _embedded(suffix: Chain, rows: Rows, positions: Positions, bench: Workbench) -> tuple[Features, Labels]:
    suffix.eval()
    parts = []
    with torch.inference_mode():
        for batch in batches(positions):
            bench.check_going_on()
            parts.append(suffix.embed(rows.plain(batch)).cpu().numpy())
    return np.concatenate(parts), bench.labels_at(positions)


def _trainer(suffix: Chain, rows: Rows, recipe: Recipe, bench: Workbench) -> Trainer:
    data = TrainingData(rows, bench.data.labels, bench.train, bench.validation)
    return Trainer(suffix, data, recipe, bench.seed, bench.device)


def _train(trainer: Trainer, hyperparameters: Mapping[str, Any], recipe: Recipe, bench: Workbench) -> None:
    """Run the steps that are left; where the job is broken off, the next attempt goes on from the last one saved."""

    def on_progress(figures: Figures) -> None:
        bench.report(trainer.step * len(bench.train) // trainer.steps_per_epoch, figures)

    def check_going_on() -> None:
        bench.save_if_due(
            trainer.step, lambda: {"trainer": trainer.state_dict(), "hyperparameters": dict(hyperparameters)}
        )
        bench.check_going_on()

    bench.begin(TRAINING, recipe.num_epochs * len(bench.train), of_images=True)
    trainer.train(on_progress, check_going_on)
