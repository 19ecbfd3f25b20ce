"""Training jobs as people name them: the first digits of an id, or `latest`."""

from __future__ import annotations

import re

from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.failures import CommandFailed
from maas_client.typed.shorthand import id_of, job_name

LATEST = "latest"
JOB_HELP = "Id of the job, its first digits, or `latest`."
_WHOLE = re.compile(r"[0-9a-f]{32}")
_SHOWN = 5


def find_job(client: Client, text: str) -> str:
    """Return a job's resource name; raise CommandFailed where no job is meant, or more than one."""
    wanted = id_of(text)
    if _WHOLE.fullmatch(wanted):
        return job_name(wanted)
    if wanted == LATEST:
        newest = client.training.ListTrainingJobs(training_pb2.ListTrainingJobsRequest(page_size=1)).training_jobs
        if not newest:
            raise CommandFailed("there are no jobs yet: `maas finetune DIR` starts one")
        return newest[0].name
    found = [job.name for job in client.jobs() if wanted and id_of(job.name).startswith(wanted)]
    if not found:
        raise CommandFailed(f"no job's id begins with {wanted!r}: `maas jobs` lists them")
    if len(found) > 1:
        ids = ", ".join(id_of(name) for name in found[:_SHOWN])
        raise CommandFailed(f"{wanted} begins the ids of {len(found)} jobs: give more digits of {ids}")
    return found[0]
