"""What `--json` prints for each command, as types: messages of the API where a resource is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from maas.inference.v1 import inference_pb2 as inference
from maas.model_store.v1 import model_store_pb2 as store
from maas.training.v1 import training_pb2 as training


class PredictedExample(TypedDict):
    """One example: its prediction, by the version's task, or why there is none."""

    example: str
    version: NotRequired[str]
    classification: NotRequired[inference.Classification]
    multi_label: NotRequired[inference.MultiLabel]
    regression: NotRequired[inference.Regression]
    error: NotRequired[str]


class ServiceOutput(TypedDict):
    """A service, and why it does not serve."""

    service: str
    address: str
    serving: bool
    reason: str


class StatusOutput(TypedDict):
    """One look at everything."""

    services: list[ServiceOutput]
    served_models: list[inference.ServedModel]
    jobs: list[training.TrainingJob]


class HealthOutput(TypedDict):
    """A server's health."""

    address: str
    serving: bool


class Addresses(TypedDict):
    """Where `maas up` has started the services."""

    training: str
    inference: str
    home: str


class BaseOutput(TypedDict):
    """A pretrained model that can be imported."""

    architecture: str
    source: str
    licence: str
    download_bytes: int
    num_parameters: int
    input_spec: dict[str, Any]
    num_labels: int


class Deleted(TypedDict):
    """The name of what was deleted for good."""

    deleted: str


class Exported(TypedDict):
    """A version in a file."""

    version: str
    manifest_digest: str
    file: str
    size_bytes: int


class Schema(TypedDict):
    """The revision of the database's schema."""

    schema: str


class Kept(TypedDict):
    """A version that stays, and why."""

    version: str
    reason: str


class Pruned(TypedDict):
    """What was or would be deleted, and what stays."""

    versions: list[str]
    kept: list[Kept]
    deleted: bool


class DemoFigures(TypedDict):
    """What came of the demo."""

    accuracy_version_1: float
    accuracy_untrained: NotRequired[float]
    accuracy_version_2: float
    seconds_publish_to_first_answer: float
    num_requests_during_swap: int
    num_failed_during_swap: int
    base_bytes: int
    added_bytes_version_1: int
    added_bytes_version_2: int


def _checked_store() -> Any:  # noqa: ANN401  a type
    from model_store.upkeep.findings import Report

    return Report, {"is_clean": bool}


def _usage() -> Any:  # noqa: ANN401  a type
    from model_store.upkeep.usage import Usage

    return Usage, {"ratio": float}


def _garbage() -> Any:  # noqa: ANN401  a type
    from model_store.upkeep.gc import Garbage

    return Garbage, {"deleted": bool}


_RESOURCE = store.Model | store.ModelVersion
OUTPUTS: Mapping[str, Any] = {
    "up": Addresses,
    "status": StatusOutput,
    "health": HealthOutput,
    "demo": DemoFigures,
    "bases": list[BaseOutput],
    "import": store.ModelVersion,
    **dict.fromkeys(["datasets", "datasets list"], list[training.Dataset]),
    **dict.fromkeys(
        [f"datasets {verb}" for verb in ("upload", "register", "show", "delete", "undelete")], training.Dataset
    ),
    "finetune": training.TrainingJob,
    **dict.fromkeys(["jobs", "jobs list"], list[training.TrainingJob]),
    **dict.fromkeys(
        [f"jobs {verb}" for verb in ("show", "watch", "pause", "resume", "retry", "cancel")], training.TrainingJob
    ),
    **dict.fromkeys(["models", "models list"], list[store.Model]),
    "models create": store.Model,
    "versions": list[store.ModelVersion],
    "show": _RESOURCE,
    "compare": store.CompareModelVersionsResponse,
    "evaluate": training.Evaluation,
    "recommend": training.Recommendation,
    "lineage": store.LineageGraph,
    "tag": _RESOURCE,
    "describe": _RESOURCE,
    "delete": _RESOURCE,
    "undelete": _RESOURCE,
    "alias list": list[store.Alias],
    **dict.fromkeys([f"alias {verb}" for verb in ("set", "show", "rollback")], store.Alias),
    "alias delete": Deleted,
    "alias history": list[store.AliasMove],
    "watch": store.Change,
    "predict": list[PredictedExample],
    "store fsck": _checked_store,
    "store du": _usage,
    "store migrate": Schema,
    "store gc": _garbage,
    "store prune": Pruned,
    "store export": Exported,
    "store import": store.ModelVersion,
}
"""By the words of the command. Those of `watch` are printed one a line. A function stands for a class that is imported
when it is asked for, and what is printed with its fields."""
