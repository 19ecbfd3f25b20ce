"""Commands on datasets, training jobs, evaluations and reports."""
