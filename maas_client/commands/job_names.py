"""Training jobs as people name them."""

from __future__ import annotations

JOB_HELP = "Id of the job, its first digits, or `latest`."
