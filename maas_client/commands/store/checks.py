"""`maas store fsck` and `maas store du`: what is wrong in a store, and what takes room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maas_client.failures import WrongUsage, store_errors_explained
from maas_client.views.output import AsJson, notes, out, print_json, print_table, size
from model_store.extras import require

if TYPE_CHECKING:
    from model_store.blobs import BlobStore
    from model_store.upkeep.findings import Problem, Report
    from model_store.upkeep.fsck import Progress
    from model_store.upkeep.usage import Usage

_NUM_NAMED = 10


def fsck(
    source: Annotated[str, typer.Option("--from", help="With --repair: a blob store that has what is lost.")] = "",
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Read every stored byte.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Move corrupt blobs aside, and fetch lost ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that rows and blobs agree and nothing is damaged; exit code 1 where something is wrong. Deletes nothing."""
    require("server", "maas store fsck")
    from grpc_runtime.settings import StoreSettings
    from model_store.upkeep.fsck import Checker
    from model_store.upkeep.repair import Repairer

    if source and not repair:
        raise WrongUsage("--from is where --repair fetches lost blobs: give both")
    settings = StoreSettings()
    with store_errors_explained():
        second = _open_source(source) if source else None
        database, blobs = settings.open_database(), settings.open_blobs()
        with _progress_bar() as on_progress:
            report = Checker(database, blobs).check(deep=deep, on_progress=on_progress)
        if repair:
            report = Repairer(database, blobs, second).repair(report)
    if as_json:
        print_json({**asdict(report), "is_clean": report.is_clean})
    else:
        _show_report(report)
    if not report.is_clean:
        raise typer.Exit(1)


def _open_source(url: str) -> BlobStore:
    from grpc_runtime.settings import StoreSettings

    folder = url.removeprefix("file://")
    if "://" not in folder and not (Path(folder).expanduser() / "sha256").is_dir():
        raise WrongUsage(f"{url} holds no blobs: name the folder that has sha256 in it, or a URL such as s3://BUCKET")
    return StoreSettings(blobs_url=url).open_blobs()


@contextmanager
def _progress_bar() -> Iterator[Callable[[Progress], object]]:
    """Show how much was read, and how fast, where a person looks."""
    from rich import progress

    columns = (
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task("", visible=False, total=None)
        yield lambda step: bar.update(task, completed=step.done_bytes, total=step.total_bytes, visible=True)


def _show_report(report: Report) -> None:
    for problem in report.problems:
        out.print(_problem_text(problem), markup=False, highlight=False, soft_wrap=True)
    what = f"{report.num_versions} versions, {report.num_datasets} datasets, {report.num_blobs} blobs"
    read = "every byte was read" if report.is_deep else "stages were not read: --deep does"
    out.print(f"checked {what} ({size(report.size_bytes)}; {read})", soft_wrap=True)
    if report.num_orphans:
        out.print(f"{report.num_orphans} blobs are named by no row: `maas store gc` collects them once they are old")
    num_left = sum(not problem.is_solved for problem in report.problems)
    num_solved = len(report.problems) - num_left
    repaired = f", {num_solved} repaired" if num_solved else ""
    out.print(f"{num_left} problems{repaired}" if report.problems else "nothing is wrong")


def _problem_text(problem: Problem) -> str:
    lines = [f"{problem.kind}: {problem.resource} {problem.text}"]
    if problem.needed_by and problem.needed_by != (problem.resource,):
        names = ", ".join(problem.needed_by[:_NUM_NAMED])
        num_more = len(problem.needed_by) - _NUM_NAMED
        lines.append(f"  needed by {names}" + (f" and {num_more} more" if num_more > 0 else ""))
    if problem.repair is not None:
        lines.append(f"  {problem.repair.text}")
    if not problem.is_solved:
        lines.append(f"  to do: {problem.advice}")
    return "\n".join(lines)


def du(*, as_json: AsJson = False) -> None:
    """Show what takes room: of each model, what is its own and what it shares; and what could go."""
    require("server", "maas store du")
    from grpc_runtime.settings import StoreSettings
    from model_store.upkeep.usage import usage_of

    settings = StoreSettings()
    with store_errors_explained():
        usage = usage_of(settings.open_database(), settings.open_blobs())
    if as_json:
        print_json({**asdict(usage), "ratio": usage.ratio})
    else:
        _show_usage(usage)


def _show_usage(usage: Usage) -> None:
    models = [
        (
            each.name,
            each.num_versions,
            each.num_deleted_versions,
            size(each.logical_bytes),
            size(each.stored.own_bytes),
            size(each.stored.shared_bytes),
        )
        for each in usage.models
    ]
    columns = ["model", "versions", "deleted", "logical", "own (free without it)", "shared with others"]
    print_table("", columns, models, "no models")
    datasets = [(each.name, size(each.stored.own_bytes), size(each.stored.shared_bytes)) for each in usage.datasets]
    print_table("", ["dataset", "own (free without it)", "shared with others"], datasets, "no datasets")
    logical, stored = size(usage.logical_bytes), size(usage.model_bytes)
    out.print(f"models: {logical} logical, {stored} stored, a ratio of {usage.ratio:.1f}", highlight=False)
    deleted = f"{size(usage.deleted_bytes)} of {usage.num_deleted_versions} deleted versions, which can still come back"
    out.print(f"not purged yet: {deleted}", highlight=False)
    garbage = f"garbage: {size(usage.garbage_bytes)} in {usage.num_garbage} blobs and unfinished files"
    if usage.young_bytes:
        garbage += f"; {size(usage.young_bytes)} of it is younger than 24 hours, which `maas store gc` leaves alone"
    out.print(garbage, highlight=False, soft_wrap=True)
    if usage.quarantined_bytes:
        out.print(f"moved aside as damaged: {size(usage.quarantined_bytes)}", highlight=False)
    out.print(f"all that is stored: {size(usage.stored_bytes)}", highlight=False)
