"""The training service: datasets in, fine-tuned versions out."""
