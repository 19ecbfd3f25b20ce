"""The report of a job: one page of sections and charts."""
