"""The facades of the store: models, jobs, datasets. Each method is one transaction."""
