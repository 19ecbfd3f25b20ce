"""What a training step makes smaller: the task's loss, of targets that may be mixed."""

from __future__ import annotations

from torch import Tensor

from training_service.optimization.mixing import MixedTargets
from training_service.tasks.training_task import Loss


def mixed_loss(loss: Loss, outputs: Tensor, targets: MixedTargets) -> Tensor:
    """Return the sum over rows of the loss of outputs [n, outputs]: of each target, by its share.

    The gradient of a squared error is that of the error from the mean of both targets.
    """
    if targets.share == 1:
        return loss(outputs, targets.targets)
    return targets.share * loss(outputs, targets.targets) + (1 - targets.share) * loss(outputs, targets.others)
