"""`maas finetune`: from a dataset to a registered version."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.commands.training.uploading import upload
from maas_client.failures import CommandFailed
from maas_client.next_steps import await_answer, show_next_steps
from maas_client.typed import recipe_options as options
from maas_client.typed.data_options import Group, Ignored, Modality, Targets, Task, data_options, modality_of
from maas_client.typed.numbers import INT32_MAX, INT64_MAX, finite
from maas_client.typed.shorthand import alias_name, dataset_name, id_from_path, id_of, model_of
from maas_client.views.dataset import show_rejections, size_text
from maas_client.views.job import check_promoted, check_succeeded, follow, show_result
from maas_client.views.new_alias import say_where_new
from maas_client.views.output import AsJson, notes, print_json

_PROMOTION = "Promotion"
_QUEUE = "Queue"
_DATASETS = "datasets/"
_MAX_SECONDS = 1e9  # of a duration; the service allows a week


def finetune(  # noqa: PLR0917  every one is an option of the command line
    data: Annotated[
        str,
        typer.Argument(
            help="Folder or archive of images, one folder for each label; a CSV file of numbers; or datasets/ID."
        ),
    ],
    base: Annotated[
        str,
        typer.Option(
            help="Model to start from: `maas models` lists them, `maas import` adds one; default: the only one."
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
            help="Alias to point at the new version if it is no worse than the one that is there.",
            rich_help_panel=_PROMOTION,
        ),
    ] = "",
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
        float, typer.Option(callback=finite, help="By how much it must be better.", rich_help_panel=_PROMOTION)
    ] = 0.0,
    min_rows: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=INT32_MAX,
            help="Test examples that neither version learned from, at least; on fewer nothing is judged; default: 20.",
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
    *,
    recipe: options.Recipe = "",
    num_stages: options.NumStages = None,
    augmentation: options.Augmentation = "",
    class_weights: options.ClassWeights = "",
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    find_learning_rate: options.FindLearningRate = False,
    backbone_factor: options.BackboneFactor = None,
    weight_decay: options.WeightDecay = None,
    optimizer: options.Optimizer = "",
    schedule: options.Schedule = "",
    label_smoothing: options.LabelSmoothing = None,
    patience: options.Patience = None,
    precision: options.Precision = "",
    settings: options.Settings = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return as soon as the job is queued.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model on a dataset, and register the result.

    Exits with 3 where the version is registered, but was refused for the alias that --promote names.
    """
    chosen = options.recipe_of(
        recipe,
        settings or [],
        stage_count=num_stages,
        class_weights=class_weights,
        epoch_count=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        find_learning_rate=find_learning_rate,
        backbone_learning_rate_factor=backbone_factor,
        weight_decay=weight_decay,
        optimizer=optimizer,
        schedule=schedule,
        augmentation=augmentation,
        label_smoothing=label_smoothing,
        patience=patience,
        precision=precision,
    )
    _check_exists(data)
    model = model or (id_of(data) if data.startswith(_DATASETS) else id_from_path(Path(data), "--model"))
    made_up = f"{id_of(model)[:40].strip('-')}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    gate = _gate(
        alias_name(model, promote) if promote else "",
        metric=metric,
        threshold=threshold,
        min_delta=min_delta,
        min_rows=min_rows,
        shadow_for=timedelta(seconds=shadow_for),
        shadow_min_rows=shadow_min_rows,
    )
    with Client() as client:
        queue = partial(
            client.finetune,
            model,
            base=base or _only_base(client, modality or _modality_of(client, data)),
            recipe=chosen,
            seed=seed,
            alias=alias,
            promote=gate,
            priority=priority,
            max_failures=max_failures,
        )
        # Before the upload: a mistyped option should not leave a dataset behind.
        queue(dataset="", validate_only=True)
        say_where_new(client, model, alias or promote)
        asked = data_options(task, modality, target, ignore, group)
        made_of = partial(_dataset, client, data, dataset_id or made_up, split_seed, encoding)
        job = queue(dataset=made_of(reuse=not dataset_id, **asked))
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


def _modality_of(client: Client, data: str) -> str:
    """Return the modality of a dataset, or that of an upload by its form."""
    if data.startswith(_DATASETS):
        _check_is_dataset(client, data)
        return client.dataset(data).modality
    return modality_of(Path(data))


def _only_base(client: Client, modality: str) -> str:
    """Return the one model in the store that takes examples of a modality and was not made by a fine-tune."""
    newest = (next(iter(client.versions(model.name)), None) for model in client.models())
    imported = (each for each in newest if each is not None and not each.lineage.training_job)
    names = [model_of(each.name) for each in imported if each.modality == modality]
    if not names:
        raise CommandFailed(
            f"there is no model to start from, for the modality {modality}: `maas bases` lists what `maas import` can "
            "bring in"
        )
    if len(names) > 1:
        raise CommandFailed(f"name the model to start from: --base with one of {', '.join(map(id_of, names))}")
    notes.print(f"base: {id_of(names[0])}, the only one there is", highlight=False)
    return names[0]


def _gate(alias: str, **asked: Any) -> training_pb2.Promote | None:  # noqa: ANN401  each as its field wants it
    """Return what the version must reach; raise CommandFailed where it is asked for without an alias."""
    if alias:
        return training_pb2.Promote(alias=alias, **asked)
    if any(value for value in asked.values()) or asked["threshold"] is not None:
        raise CommandFailed(
            "a metric, threshold, delta, number of rows or shadow needs an alias to promote to: --promote production"
        )
    return None


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
    if data.startswith(_DATASETS):
        _check_is_dataset(client, data)
        return data
    dataset = upload(client, Path(data), dataset_id, split_seed or 0, encoding=encoding, reuse=reuse, **asked)
    if dataset.name != dataset_name(dataset_id):
        notes.print(f"{dataset.name} has just this content already: it is used", highlight=False)
    notes.print(f"{dataset.name}: {size_text(dataset)}", highlight=False)
    show_rejections(dataset, notes)
    return dataset.name


def _check_exists(data: str) -> None:
    if not data.startswith(_DATASETS) and not Path(data).exists():
        raise CommandFailed(
            f"{data} does not exist: give a folder, an archive, a CSV file, or a dataset as datasets/ID"
        )


def _check_is_dataset(client: Client, data: str) -> None:
    """Raise CommandFailed where only a folder has a dataset's name: nobody would find out why it is not found."""
    try:
        client.dataset(data)
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND and Path(data).exists():
            text = f"there is no dataset {data}; to upload the folder or file of that name write ./{data}"
            raise CommandFailed(text) from error
        raise
