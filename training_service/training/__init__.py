"""Fine-tuning: the training loop, heads, checkpoints, and versions in and out."""
