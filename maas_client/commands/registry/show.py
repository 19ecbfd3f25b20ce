"""`maas show`: all that is known of one model or version."""

from __future__ import annotations

from typing import Annotated

import typer
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.client import Client
from maas_client.typed.shorthand import alias_text, id_of, model_of, short_name, target_name
from maas_client.views.output import AsJson, metric, moment, print_facts, print_json, print_table, size, tags_text
from maas_client.views.recipe import recipe_text, remarks_of
from maas_client.views.tasks import answers_noun

_SHOWN_LABELS = 20


def show(
    name: Annotated[str, typer.Argument(help="A model or a version: flowers, flowers/3, flowers@production.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one model, or one version."""
    name = target_name(name)
    with Client() as client:
        found = client.model(name) if name == model_of(name) else client.version(name)
        recipe = recipe_text(client, found) if isinstance(found, pb.ModelVersion) and not as_json else ""
    if as_json:
        print_json(found)
    elif isinstance(found, pb.Model):
        _show_model(found)
    else:
        _show_version(found, recipe)


def _show_model(model: pb.Model) -> None:
    aliases = ", ".join(f"{id_of(alias.name)} -> {alias_text(alias, alias.version)}" for alias in model.aliases)
    print_facts(model.name, [("last version", model.last_version_number), ("aliases", aliases), *_kept(model)])


def _show_version(version: pb.ModelVersion, recipe: str) -> None:
    lineage = version.lineage
    labels = ", ".join(version.labels[:_SHOWN_LABELS])
    more = version.output_count - _SHOWN_LABELS
    facts = [
        ("aliases", ", ".join(map(id_of, version.aliases))),
        ("architecture", version.architecture),
        (answers_noun(version.task), f"{labels}, and {more} more" if more > 0 else labels or "none: a backbone"),
        ("metrics", "  ".join(f"{name} {metric(value)}" for name, value in sorted(version.metric_values.items()))),
        ("base", short_name(lineage.base)),
        ("dataset", lineage.dataset),
        ("job", lineage.training_job),
        ("recipe", recipe),
        ("remarks", remarks_of(version)),
        ("chosen for", dict(lineage.recipe).get("reason", "")),
        ("seed", lineage.seed),
        ("size", f"{size(version.size_bytes)} (+{size(version.added_bytes)})"),
        ("calibration", size(version.calibration.rows_size_bytes) if version.HasField("calibration") else ""),
        ("manifest", version.manifest_digest),
    ]
    print_facts(version.name, [*facts, *_kept(version)])
    rows = [(stage.name, size(stage.size_bytes), stage.digest) for stage in version.stages]
    print_table("", ["stage", "size", "digest"], rows, "no stages")


def _kept(resource: pb.Model | pb.ModelVersion) -> list[tuple[str, object]]:
    """Return what models and versions have in common."""
    purged = moment(resource.purge_time)
    is_deleted = resource.state == pb.RESOURCE_STATE_DELETED
    return [
        ("description", resource.description),
        ("tags", tags_text(resource.tags)),
        ("created", moment(resource.create_time)),
        ("changed", moment(resource.update_time)),
        ("deleted", f"{moment(resource.delete_time)}, for good after {purged}" if is_deleted else ""),
        ("etag", resource.etag),
    ]
