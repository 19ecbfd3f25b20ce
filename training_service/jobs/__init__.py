"""Training jobs: the runner that claims them and the worker process of each."""
