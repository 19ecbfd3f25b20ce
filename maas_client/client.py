"""The Python client: all that the `maas` command does with the services, as plain calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maas.model_store.v1 import model_store_pb2

from maas_client.calls.datasets import DatasetCalls
from maas_client.calls.edits import EditCalls
from maas_client.calls.status import StatusCalls
from maas_client.errors import InvalidArgument
from model_store.extras import require

if TYPE_CHECKING:
    from torch import Tensor

    from maas_client.scoring.score import Scored
    from maas_client.transfers.predicting import Answer
    from model_store.modalities import InputSpec


class Client(DatasetCalls, EditCalls, StatusCalls):
    """Every call, over channels to both services that are opened at first use; safe to share between threads.

    Failed calls raise maas_client.errors. `AsyncClient` has the same methods, to be awaited.
    """

    def predict_files(
        self,
        model: str,
        paths: Iterable[Path | str],
        *,
        texts: Iterable[str] = (),
        columns: Sequence[str] = (),
        top_k: int = 0,
    ) -> Iterator[Answer]:
        """Yield an answer for each text, each file, each file below a folder, and each row of a table.

        `columns` are those of a table to send, by the names in its first line; without them, all that the version
        takes. An example that cannot be read, or that the service refuses, has an `error`, and costs no other one its
        answer. Requests are as large as the service takes them.
        """
        from maas_client.scoring.row_questions import row_questions
        from maas_client.transfers.predicting import predict_all
        from maas_client.transfers.questions import questions_of, text_questions

        of_files = questions_of(map(Path, paths), rows_of=row_questions(self, model, columns))
        yield from predict_all(self, model, chain(text_questions(texts), of_files), top_k)

    def score_files(
        self,
        model: str,
        paths: Iterable[Path | str],
        output: Path | str,
        *,
        columns: Sequence[str] = (),
        on_scored: Callable[[int, int], object] = lambda *_: None,
    ) -> Scored:
        """Write a model's answers to a table of rows (.csv, .tsv, .jsonl), or to files, to `output` (.csv or .jsonl).

        Several requests are under way at once, and one version answers all. What was interrupted is gone on with by the
        same call. An example that cannot be used has an error there. `columns` are those of the table to send;
        `on_scored` is told of the examples so far, and of the bytes of the table that were read.
        """
        from maas_client.scoring.score import score

        sources = list(map(Path, paths))
        return score(self, model, sources, Path(output), columns=columns, on_scored=on_scored)

    def import_base(
        self,
        /,
        architecture: str,
        model: str = "",
        *,
        source: str = "",
        weights: Path | str | None = None,
        labels: Sequence[str] | Path | None = None,
        random: int | None = None,
        num_labels: int | None = None,
        widths: Sequence[int] = (),
        base: str = "",
        show_progress: bool = False,
        **about: Any,  # noqa: ANN401  each as its field wants it
    ) -> model_store_pb2.ModelVersion:
        """Register a pretrained model to start from, by default under its architecture's name.

        The weights are those of `source` (`maas bases` lists them), of a file `weights` with its `labels`, or `random`
        under this seed. `base` and `about` are as for `publish`. Raises InvalidArgument where these do not go together,
        model_store.errors.StoreError where the weights do not fit the architecture, and model_store.extras.NotInstalled
        without the server's packages.
        """
        require("server", "Client.import_base")
        from maas_client.transfers.bases import load_base
        from maas_client.transfers.publish import publish_base

        loaded = load_base(
            architecture,
            source=source,
            weights=weights,
            labels=labels,
            random=random,
            num_labels=num_labels,
            widths=widths,
            show_progress=show_progress,
        )
        model = model or architecture.replace("_", "-")
        return publish_base(self, model, loaded, base=self.version(base).name if base else "", **about)

    def publish(
        self,
        /,
        model: str,
        weights: Path | str | Mapping[str, Tensor],
        *,
        architecture: str,
        labels: Sequence[str] | None = None,
        input_spec: InputSpec | None = None,
        recipe: Mapping[str, Any] | None = None,
        base: str = "",
        **about: Any,  # noqa: ANN401  each as its field wants it
    ) -> model_store_pb2.ModelVersion:
        """Register weights that were trained elsewhere: a state dict by torchvision's names, or a file of one.

        `input_spec` says how its examples are prepared, where that is not torchvision's way; `recipe` is what to
        remember of the training, `base` the version it started from. `about` are further fields of the
        header of PublishModelVersion, such as `metrics`, `metric_values={"accuracy": 0.93}`, `description`,
        `tags={"team": "vision"}`, `alias`, `seed` and `request_id`, and `calibrate_by`, examples that it was not
        trained on. Raises model_store.errors.StoreError where the weights do not fit the architecture, and
        model_store.extras.NotInstalled without the server's packages.
        """
        require("server", "Client.publish")
        from maas_client.transfers.publish import load_weights, publish_base

        loaded = load_weights(architecture, weights, labels)
        loaded = replace(loaded, input_spec=input_spec or loaded.input_spec)
        return publish_base(self, model, loaded, recipe, base=self.version(base).name if base else "", **about)

    def export(
        self,
        version: str,
        path: Path | str,
        *,
        kind: str = "archive",
        on_bytes: Callable[[int], object] = lambda _: None,
    ) -> model_store_pb2.ModelVersion:
        """Write a version to a file, to be imported into another store; return the version that it was.

        Of kind `torchvision` the file is a state dict as torchvision has it (.safetensors, .pth); `torch-export` and
        `onnx` are programs that run without maas, with normalisation and activation inside, and `PATH.json` beside them
        says how rows are made; `huggingface` is a folder that transformers loads. `on_bytes` is told of bytes received.
        Raises FailedPrecondition where a version cannot be written so, and where what is written answers otherwise.
        """
        from maas_client.transfers.version_transfer import PROGRAMS, export_archive, export_program, export_torchvision

        if kind not in {"archive", "torchvision", *PROGRAMS}:
            raise InvalidArgument(f"kind must be archive, torchvision, {', '.join(PROGRAMS)}, not {kind!r}")
        found = self.version(version)
        if kind in PROGRAMS:
            export_program(self, found, Path(path), kind, on_bytes)
        else:
            write = export_torchvision if kind == "torchvision" else export_archive
            write(self, found, Path(path), on_bytes)
        return found

    def import_archive(
        self,
        path: Path | str,
        *,
        model: str = "",
        alias: str = "",
        actor: str = "",
        on_bytes: Callable[[int], object] = lambda _: None,
    ) -> model_store_pb2.ModelVersion:
        """Register what `export` wrote, as the next version of a model; importing it again changes nothing.

        `on_bytes` is told of each byte twice: when it was checked, and when it was sent.
        """
        from maas_client.transfers.version_transfer import import_archive

        return import_archive(self, Path(path), model=model, alias=alias, actor=actor, on_bytes=on_bytes)
