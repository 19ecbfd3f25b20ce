"""The hyperparameter that says that a head was fitted on validation rows too."""

REFITTED = "refitted_on_validation_rows"
"""True in a version's recipe where its head was fitted again, on training and validation rows together."""
