"""`maas store`: the operator's commands on the store itself; they open it directly, without a service."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from maas_client.commands.store import checks
from maas_client.failures import WrongUsage, store_errors_explained
from maas_client.typed.numbers import INT32_MAX, finite
from maas_client.views.output import AsJson, out, print_json, print_table, size
from model_store.extras import require

if TYPE_CHECKING:
    from model_store.upkeep.gc import Garbage
    from model_store.upkeep.retention import Plan

app = typer.Typer(
    help="Look after the model store, on the machine that holds it; export and import ask a service, wherever it is.",
    no_args_is_help=True,
)

_SECONDS_AN_HOUR = 3600
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_ON_DELETE = "would be removed by --delete"

Delete = Annotated[bool, typer.Option("--delete", help="Remove it; without this, only say what there is.")]


@app.callback()
def store() -> None:
    """Look after the model store."""


app.command("fsck")(checks.fsck)
app.command("du")(checks.du)


@app.command("migrate")
def migrate(*, as_json: AsJson = False) -> None:
    """Bring the database to the schema that this maas needs, one process at a time."""
    require("server", "maas store migrate")
    from grpc_runtime.settings import StoreSettings

    with store_errors_explained():
        revision = StoreSettings().connect().migrate()
    if as_json:
        print_json({"schema": revision})
    else:
        out.print(f"the database has schema {revision}")


@app.command("gc")
def collect_garbage(
    grace_hours: Annotated[
        float, typer.Option(min=0, max=1e6, callback=finite, help="Leave what is younger alone.")
    ] = 24.0,
    *,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Purge what was deleted and is due, and find blobs that nothing needs any more; safe while services run."""
    require("server", "maas store gc")
    from dataclasses import asdict

    from grpc_runtime.settings import StoreSettings
    from model_store.upkeep.gc import Collector

    settings = StoreSettings()
    with store_errors_explained():
        collector = Collector(
            settings.open_database(), settings.open_blobs(), grace_seconds=grace_hours * _SECONDS_AN_HOUR
        )
        garbage = collector.collect() if delete else collector.find()
    if as_json:
        print_json({**asdict(garbage), "deleted": delete})
    else:
        out.print(f"{_garbage_text(garbage)}, {'removed' if delete else _ON_DELETE}", soft_wrap=True)
        if garbage.young.num_files:
            young = f"{garbage.young.num_files} more unused files, {size(garbage.young.size_bytes)}"
            out.print(f"{young}, are younger than {grace_hours:g} hours and left alone (--grace-hours)", soft_wrap=True)


def _garbage_text(garbage: Garbage) -> str:
    blobs = f"{garbage.num_blobs} unused blobs and {garbage.num_unfinished} unfinished files"
    purged = f"{garbage.num_versions} versions, {garbage.num_models} models and {garbage.num_datasets} datasets"
    return f"{purged} that are due; {blobs}, {size(garbage.size_bytes)}"


@app.command("prune")
def prune(
    model: Annotated[str, typer.Argument(help="Id of the model, such as flowers; without one, all models.")] = "",
    keep_last: Annotated[
        int | None, typer.Option(min=0, max=INT32_MAX, help="Keep so many of each model's newest versions.")
    ] = None,
    newer_than: Annotated[str, typer.Option(help="Keep what is newer than this: 12h, 30d, 8w.")] = "",
    *,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Delete old versions; what an alias, a newer version or a job stands on is kept, and the newest of each model."""
    require("server", "maas store prune")
    from grpc_runtime.settings import StoreSettings
    from model_store.names import check_id
    from model_store.registry.models import ModelStore
    from model_store.upkeep.retention import Pruner, Rule

    if keep_last is None and not newer_than:
        raise WrongUsage("say what should stay: --keep-last, --newer-than, or both")
    settings = StoreSettings()
    with store_errors_explained():
        rule = Rule(keep_last, _span(newer_than) if newer_than else None)
        database = settings.open_database()
        pruner = Pruner(database, ModelStore(database, settings.open_blobs()))
        model_id = check_id(model.removeprefix("models/"), "model") if model else None
        plan = pruner.prune(rule, model_id) if delete else pruner.find(rule, model_id)
    if as_json:
        kept = [{"version": str(name), "reason": reason} for name, reason in plan.kept.items()]
        print_json({"versions": [str(name) for name in plan.delete], "kept": kept, "deleted": delete})
    else:
        _show_plan(plan, delete=delete)


def _span(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if found is None:
        raise WrongUsage(f"--newer-than has the form 12h, 30d or 8w, not {text!r}")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _show_plan(plan: Plan, *, delete: bool) -> None:
    done = "deleted" if delete else _ON_DELETE
    rows = [*((name, done, "") for name in plan.delete), *((name, "kept", why) for name, why in plan.kept.items())]
    print_table("", ["version", "", "why"], sorted(rows), "there are no versions")
    later = "; `maas store gc --delete` frees their bytes once they cannot be undeleted any more" if delete else ""
    out.print(f"{len(plan.delete)} versions {done}, {len(plan.kept)} kept{later}", soft_wrap=True)
