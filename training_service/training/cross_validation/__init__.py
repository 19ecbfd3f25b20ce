"""Cross-validation of a recipe on few rows, whose test split alone says little of it."""
