"""What a training step does with a loss: optimizers, schedules, mixing, averaging."""
