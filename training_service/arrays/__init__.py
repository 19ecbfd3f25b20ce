"""Large arrays on the disk, and reading ahead of the training step."""
