"""`maas finetune`: from a dataset to a registered version."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Unpack

import typer

from maas_client.client import Client
from maas_client.commands.training.before_upload import DATASETS, check_exists, check_fits, describe_data, only_base
from maas_client.commands.training.uploading import upload
from maas_client.next_steps import await_answer, show_next_steps
from maas_client.typed.data_options import Group, Ignored, Modality, SchemaFile, Targets, Task, TextColumn, data_options
from maas_client.typed.gates import Gate, Requirement
from maas_client.typed.numbers import INT32_MAX, INT64_MAX, finite
from maas_client.typed.recipe_fields import RECIPE, RecipeFields
from maas_client.typed.recipe_options import with_recipe_options
from maas_client.typed.searches import search_asked
from maas_client.typed.shorthand import dataset_name, id_from_path, id_of
from maas_client.views.dataset import show_rejections, size_text
from maas_client.views.job import check_promoted, check_succeeded, follow, show_result
from maas_client.views.new_alias import say_where_new
from maas_client.views.output import AsJson, notes, print_json

_PROMOTION = "Promotion"
_QUEUE = "Queue"
_SEARCH = "Search (of recipes and hyperparameters, by trials that are jobs)"
_MAX_SECONDS = 1e9  # of a duration; the service allows a week


@with_recipe_options
def finetune(  # noqa: PLR0917  every one is an option of the command line
    data: Annotated[
        str,
        typer.Argument(
            help="Folder or archive of files, one folder for each label; a table (CSV, JSONL, Parquet); or datasets/ID."
        ),
    ],
    base: Annotated[
        str,
        typer.Option(
            help=(
                "Model to start from: `maas models` lists them, `maas import` adds one; auto: the one that suits the "
                "data, as by `maas recommend`; default: the only one."
            )
        ),
    ] = "",
    text_base: Annotated[
        str,
        typer.Option(
            help="Encoder of texts that reads a column of text of a table, beside the other columns; instead of --base."
        ),
    ] = "",
    model: Annotated[str, typer.Option(help="Id of the model to make; default: from the data's name.")] = "",
    dataset_id: Annotated[
        str,
        typer.Option(
            help="Id of the dataset to upload; default: one with this content, else the model's and the time."
        ),
    ] = "",
    encoding: Annotated[
        str, typer.Option(help="Encoding of an archive's names that are not UTF-8, such as gbk, shift_jis or cp866.")
    ] = "",
    alias: Annotated[str, typer.Option(help="Alias to point at the new version, such as production.")] = "",
    promote: Annotated[
        str,
        typer.Option(
            help="Alias to point at the new version unless it is worse than the one that is there.",
            rich_help_panel=_PROMOTION,
        ),
    ] = "",
    require: Annotated[
        Requirement,
        typer.Option(
            help="not_worse: promote unless it is worse beyond noise, or by over half a point within it; better: only "
            "if it is better beyond noise.",
            rich_help_panel=_PROMOTION,
        ),
    ] = Requirement.NOT_WORSE,
    metric: Annotated[
        str,
        typer.Option(
            help="What to compare by; default: the task's own metric, accuracy for one.", rich_help_panel=_PROMOTION
        ),
    ] = "",
    threshold: Annotated[
        float | None,
        typer.Option(callback=finite, help="What the metric must reach.", rich_help_panel=_PROMOTION),
    ] = None,
    min_delta: Annotated[
        float,
        typer.Option(
            callback=finite, help="By how much it must be better; below 0: may be worse.", rich_help_panel=_PROMOTION
        ),
    ] = 0.0,
    min_rows: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=INT32_MAX,
            help="Examples that neither version learned from, at least; on fewer nothing is judged; default: 20.",
            rich_help_panel=_PROMOTION,
        ),
    ] = None,
    shadow_for: Annotated[
        float,
        typer.Option(
            max=_MAX_SECONDS,
            callback=finite,
            help="Seconds that it runs as a shadow before the alias moves.",
            rich_help_panel=_PROMOTION,
        ),
    ] = 0.0,
    shadow_min_rows: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=INT32_MAX,
            help="Examples of requests that it must have run on as a shadow, at least; default: 100.",
            rich_help_panel=_PROMOTION,
        ),
    ] = None,
    priority: Annotated[
        int,
        typer.Option(
            min=-INT32_MAX, max=INT32_MAX, help="Of the jobs that wait, the highest goes first.", rich_help_panel=_QUEUE
        ),
    ] = 0,
    max_failures: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=INT32_MAX,
            help="Give up after so many runners died in a row, with no checkpoint in between; default: 3.",
            rich_help_panel=_QUEUE,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=INT64_MAX, help="Seed of the training: initialisation, shuffling, augmentation.")
    ] = 0,
    split_seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=INT64_MAX,
            help="Seed of the split of examples that are uploaded; versions are compared on equal splits; default: 0.",
        ),
    ] = None,
    task: Task = "",
    modality: Modality = "",
    target: Targets = None,
    ignore: Ignored = None,
    group: Group = "",
    text_column: TextColumn = "",
    schema: SchemaFile = None,
    *,
    recipe: Annotated[
        str,
        typer.Option(
            help="linear_probe, fit_head, last_stages, full, gradual, classic or scratch.", rich_help_panel=RECIPE
        ),
    ] = "",
    search: Annotated[
        Path | None,
        typer.Option(
            help="JSON or TOML file with recipes to try and the values of what varies.", rich_help_panel=_SEARCH
        ),
    ] = None,
    max_trials: Annotated[
        int | None,
        typer.Option(min=1, max=INT32_MAX, help="Trials at most; default: 20.", rich_help_panel=_SEARCH),
    ] = None,
    time_limit: Annotated[
        str,
        typer.Option(help="Time in which the search must have ended, such as 90s or 10m.", rich_help_panel=_SEARCH),
    ] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Return as soon as the job is queued.")] = False,
    as_json: AsJson = False,
    **fields: Unpack[RecipeFields],
) -> None:
    """Fine-tune a model on a dataset, and register the result.

    Exits with 3 where the version is registered, but was refused for the alias that --promote names.
    """
    check_exists(data)
    reads_text = bool(text_base)
    asked = data_options(task, modality, target, ignore, group, text_column, schema, reads_text_beside=reads_text)
    model = model or (id_of(data) if data.startswith(DATASETS) else id_from_path(Path(data), "--model"))
    asked_search = search_asked(search, max_trials, time_limit)
    made_up = f"{id_of(model)[:40].strip('-')}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    gate = Gate(
        metric=metric,
        threshold=threshold,
        min_delta=min_delta,
        min_rows=min_rows,
        shadow_for=timedelta(seconds=shadow_for),
        shadow_min_rows=shadow_min_rows,
        require=require,
    )
    with Client() as client:
        found = describe_data(client, data, modality=asked["modality"], task=task)
        queue = partial(
            client.finetune,
            model,
            recipe=recipe,
            seed=seed,
            alias=alias,
            promote=promote,
            gate=gate,
            priority=priority,
            max_failures=max_failures,
            text_base=text_base,
            text_column=text_column if text_base else "",
            search=asked_search,
            **fields,
        )
        # Before the upload: a mistyped option should not leave a dataset behind.
        check_fits(client, found, base, metric)
        find_base = partial(only_base, client, check=queue)
        base = base if base or text_base else find_base(found)
        queue(dataset="", base=base, validate_only=True, modality=found.modality if text_base else "")
        say_where_new(client, model, alias or promote)
        made_of = partial(_dataset, client, data, dataset_id or made_up, split_seed, encoding)
        dataset = made_of(reuse=not dataset_id, **asked)
        if not base and not text_base:
            base = find_base(describe_data(client, dataset, modality="", task=""))
        job = queue(dataset=dataset, base=base)
        if not detach:
            job = follow(client, job.name)
        if as_json:
            print_json(job)
        if detach:
            if job.recipe.reason:
                notes.print(f"{job.recipe.WhichOneof('recipe')}: {job.recipe.reason}", highlight=False)
            notes.print(f"{job.name} is queued; follow it with `maas jobs watch {id_of(job.name)}`", highlight=False)
            return
        check_succeeded(job)
        if not as_json:
            show_result(client, job)
        await_answer(client, job.version)
        if not as_json:
            show_next_steps(client, job)
        check_promoted(job)


def _dataset(
    client: Client,
    data: str,
    dataset_id: str,
    split_seed: int | None,
    encoding: str,
    *,
    reuse: bool,
    **asked: Any,  # noqa: ANN401  each as its argument wants it
) -> str:
    """Return the name of an uploaded dataset, uploading a folder, an archive or a CSV file first."""
    if data.startswith(DATASETS):
        return data
    dataset = upload(client, Path(data), dataset_id, split_seed or 0, encoding=encoding, reuse=reuse, **asked)
    if dataset.name != dataset_name(dataset_id):
        notes.print(f"{dataset.name} has just this content already: it is used", highlight=False)
    notes.print(f"{dataset.name}: {size_text(dataset)}", highlight=False)
    show_rejections(dataset, notes)
    return dataset.name
