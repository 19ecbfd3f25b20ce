"""Settings of the inference service: `MAAS_INFERENCE_…` for this service, `MAAS_…` for every maas process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from grpc_runtime.modality_limits import NumbersByModality, limits_of, own_numbers
from grpc_runtime.settings import ServerSettings
from inference_service.desired.desired_versions import Target
from model_store.errors import InvalidInput
from model_store.modalities import Limits
from model_store.names import parse_target


class InferenceSettings(ServerSettings):
    """Settings of the inference service.

    Each field is read from `MAAS_INFERENCE_{FIELD}`, else from `MAAS_{FIELD}`.
    """

    model_config = SettingsConfigDict(env_prefix="MAAS_INFERENCE_")

    bind: str = Field(
        default="127.0.0.1:50051", description="Address to listen on, `host:port`. Port 0: any free port."
    )

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Device of the models. `auto`: CUDA where a GPU is found, else the CPU."
    )
    num_threads: int = Field(default=0, ge=0, description="CPU threads of inference. 0: PyTorch's choice.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Data type of the backbones. `auto`: the fastest one in which a version's answers to its "
        "calibration rows agree with float32; on a CPU with OpenVINO it may be int8.",
    )
    cpu_backend: Literal["auto", "torch", "openvino"] = Field(
        default="auto",
        description="What runs backbones on a CPU. `openvino`: stages that OpenVINO compiled, and PyTorch until they "
        "are; the package's extra `openvino` brings it. `auto`: OpenVINO where it is installed, else PyTorch.",
    )
    cuda_graphs: bool = Field(
        default=False,
        description="On a GPU: record the stages of a backbone as CUDA graphs at load. Small batches are faster; a "
        "backbone takes the memory of its largest batch more.",
    )
    num_decode_threads: int = Field(default=4, ge=1, description="Threads that decode and prepare examples.")

    max_batch_cost: NumbersByModality = Field(
        default_factory=partial(own_numbers, "batch_cost"),
        description="Cost limit of a batch, by modality. An image or a row of numbers costs 1, a recording the samples "
        "in its windows.",
    )
    max_queue_cost: NumbersByModality = Field(
        default_factory=partial(own_numbers, "queue_cost"),
        description="Cost limit of the waiting rows, by modality. More rows are refused at once.",
    )
    max_examples_per_request: int = Field(
        default=1024, ge=1, description="Limit of the examples of a request. Larger requests are refused."
    )
    max_example_size: NumbersByModality = Field(
        default_factory=partial(own_numbers, "example"),
        description="Size limit of an example, by modality: pixels of a decoded image, samples of a recording, numbers "
        "of a row. Large examples that are decoded at the same time have together at most this size.",
    )
    max_request_size: NumbersByModality = Field(
        default_factory=partial(own_numbers, "request"),
        description="Limit of the sum of a request's example sizes, as they are decoded: a large JPEG is decoded at a "
        "reduced size.",
    )

    response_cache_mb: int = Field(
        default=0, ge=0, description="MiB of memory for answers, by request and version. 0: no cache."
    )
    drift_window: int = Field(
        default=200,
        ge=0,
        le=1_000_000,
        description="Last rows of each version that are compared with its rows in training, some of each second; "
        "GetServedModel tells of drift. Nothing of a row is kept but bins of a few numbers. 0: no comparison.",
    )
    shared_memory: bool = Field(
        default=False,
        description="Whether callers on this machine may pass tensors in shared memory (Open Inference Protocol).",
    )
    shared_memory_prefix: str = Field(
        default="maas-",
        pattern=r"^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$",
        description="First characters of the names of shared memory that may be opened.",
    )

    num_newest_versions: int = Field(
        default=1, ge=0, le=1000, description="Newest versions of each model that are loaded without a request."
    )
    serve_aliases: bool = Field(
        default=True, description="Whether each version that an alias names is loaded without a request."
    )
    pinned: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names, separated by commas, of versions that are loaded at the start and never evicted: "
        "`models/x`, `models/x/versions/3` or `models/x/aliases/production`.",
    )
    on_demand: bool = Field(
        default=False, description="Whether any other version of the registry is loaded when a request names it."
    )
    memory_budget_mb: int = Field(
        default=0,
        ge=0,
        description="MiB of device memory for the tensors of models. The least recently used versions are evicted, and "
        "loaded again by the next request for them. 0: no limit.",
    )
    poll_seconds: float = Field(
        default=0.1, gt=0, description="Polling interval of the change feed on SQLite. PostgreSQL notifies the service."
    )
    drain_deadline_seconds: float = Field(
        default=30.0, ge=0, description="Time limit of the requests in flight of a version that is unloaded."
    )
    retry_first_seconds: float = Field(
        default=1.0, gt=0, description="Delay after the first failed load of a version. It doubles each time."
    )
    retry_max_seconds: float = Field(default=60.0, gt=0, description="Longest delay between two loads of a version.")

    @field_validator("pinned", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(each.strip() for each in value.split(",") if each.strip()) if isinstance(value, str) else value

    @field_validator("pinned")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for name in names:
                parse_target(name, "pinned")
        except InvalidInput as error:
            raise ValueError(error.violations[0].description) from error
        return names

    @property
    def limits(self) -> Mapping[str, Limits]:
        """The limits of each modality."""
        return limits_of(
            example=self.max_example_size,
            request=self.max_request_size,
            batch_cost=self.max_batch_cost,
            queue_cost=self.max_queue_cost,
        )

    @property
    def pinned_targets(self) -> tuple[Target, ...]:
        """The targets of the pinned names."""
        return tuple(parse_target(name, "pinned") for name in self.pinned)

    @model_validator(mode="after")
    def _check_queue(self) -> Self:
        if min(each.queue_cost for each in self.limits.values()) < self.max_examples_per_request:
            raise ValueError(
                "max_queue_cost must be at least max_examples_per_request, or no queue could take a request"
            )
        return self
