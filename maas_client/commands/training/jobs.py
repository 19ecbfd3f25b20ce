"""`maas jobs`: list, show, watch, pause, resume, retry and cancel training jobs."""

from __future__ import annotations

from typing import Annotated

import typer
from maas.training.v1 import training_pb2

from maas_client.calls.jobs import state_text
from maas_client.client import Client
from maas_client.commands.job_names import JOB_HELP
from maas_client.next_steps import show_next_steps
from maas_client.typed.shorthand import id_of
from maas_client.views.job import check_promoted, check_succeeded, choice_text, follow, show_result
from maas_client.views.output import AsJson, moment, out, print_json, print_table
from maas_client.views.search import show_trials

app = typer.Typer(help="List, show, watch, pause, resume, retry and cancel training jobs.", invoke_without_command=True)

_NO_TRIALS = 'trial.search = ""'

Job = Annotated[str, typer.Argument(help=JOB_HELP)]


@app.callback()
def list_jobs(
    context: typer.Context,
    filter_: Annotated[
        str, typer.Option("--filter", help="Conditions, such as 'state = RUNNING AND model = models/flowers'.")
    ] = "",
    sort: Annotated[str, typer.Option(help="'priority desc' or 'create_time', say; default: newest first.")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """List the training jobs, newest first; trials of searches are left out, unless a filter asks for them."""
    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        jobs = list(client.jobs(filter=filter_ or _NO_TRIALS, order_by=sort))
    if as_json:
        print_json(jobs)
        return
    rows = [
        (
            id_of(job.name),
            state_text(job.state),
            id_of(job.model),
            "search" if job.HasField("search") else job.recipe.WhichOneof("recipe"),
            job.dataset.removeprefix("datasets/"),
            moment(job.create_time),
            id_of(job.version) or job.error.message,
        )
        for job in jobs
    ]
    columns = ["job", "state", "model", "recipe", "dataset", "created", "version or error"]
    empty = "nothing passes the filter" if filter_ else "no jobs yet: `maas finetune DIR --base MODEL` starts one"
    print_table("training jobs", columns, rows, empty)


app.command("list")(list_jobs)


@app.command("show")
def show_job(job: Job, *, as_json: AsJson = False) -> None:
    """Show one job, with its metrics once it has succeeded."""
    with Client() as client:
        found = client.job(job)
        if as_json:
            print_json(found)
        elif found.state == training_pb2.TRAINING_JOB_STATE_SUCCEEDED:
            show_result(client, found)
        else:
            out.print(f"{found.name} is {state_text(found.state)} {found.error.message}".rstrip())
            if found.HasField("recommendation"):
                out.print(choice_text(found), highlight=False, markup=False, soft_wrap=True)
            show_trials(client, found)


@app.command("watch")
def watch_job(job: Job, *, as_json: AsJson = False) -> None:
    """Follow a job until it has ended; exits as `maas finetune` does."""
    with Client() as client:
        _show(client, follow(client, client.job_name(job)), as_json=as_json)


@app.command("pause")
def pause_job(job: Job, *, as_json: AsJson = False) -> None:
    """Ask a job to wait; it keeps what it has reached."""
    with Client() as client:
        _show_state(client.pause(job), as_json=as_json)


@app.command("resume")
def resume_job(job: Job, *, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    with Client() as client:
        _show_state(client.resume(job), as_json=as_json)


@app.command("retry")
def retry_job(job: Job, *, as_json: AsJson = False) -> None:
    """Try a job again that failed or was cancelled, from where it was."""
    with Client() as client:
        _show_state(client.retry(job), as_json=as_json)


@app.command("cancel")
def cancel_job(job: Job, *, as_json: AsJson = False) -> None:
    """Ask a job to stop."""
    with Client() as client:
        _show_state(client.cancel(job), as_json=as_json)


def _show_state(job: training_pb2.TrainingJob, *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        out.print(f"{job.name} is {state_text(job.state)}")


def _show(client: Client, job: training_pb2.TrainingJob, *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    check_succeeded(job)
    if not as_json:
        show_result(client, job)
        show_next_steps(client, job)
    check_promoted(job)
