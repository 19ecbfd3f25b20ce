"""What differs between kinds of examples while a dataset is made and trained on: a package each."""
