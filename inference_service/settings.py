"""Settings of the inference service: `MAAS_INFERENCE_…` for this service, `MAAS_…` for every maas process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from grpc_runtime.modality_limits import NumbersByModality, limits_of
from grpc_runtime.settings import ServerSettings
from inference_service.desired.desired_versions import Target
from model_store.errors import InvalidInput
from model_store.modalities import Limits
from model_store.names import parse_target


class InferenceSettings(ServerSettings):
    """Everything an operator may set.

    Each field is read from `MAAS_INFERENCE_{FIELD}`, else from `MAAS_{FIELD}`: so `MAAS_HOME` reaches both services and
    `MAAS_INFERENCE_LOG_LEVEL` this one alone.
    """

    model_config = SettingsConfigDict(env_prefix="MAAS_INFERENCE_")

    bind: str = "127.0.0.1:50051"

    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_threads: int = Field(default=0, ge=0, description="CPU threads to compute with; 0: PyTorch's choice.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="What backbones compute in; auto: the fastest in which a version agreed with float32 on the rows "
        "that are stored with it, else float32.",
    )
    cuda_graphs: bool = Field(
        default=False,
        description="Whether backbones are recorded as CUDA graphs when they are loaded: each stage of them is one "
        "launch. It takes a backbone's largest batch of memory more, and longer to load.",
    )
    num_decode_threads: int = Field(default=4, ge=1)

    max_batch_cost: NumbersByModality = Field(
        default={},
        description="Cost of the rows that the device runs at once, by modality, such as image=32,values=32 (the "
        "defaults).",
    )
    max_queue_cost: NumbersByModality = Field(
        default={},
        description="Cost of the rows that may wait, in the same form; more is refused at once. By default "
        "image=1024,values=1024.",
    )
    max_examples_per_request: int = Field(default=256, ge=1, description="Examples of one request.")
    max_example_size: NumbersByModality = Field(
        default={},
        description="Largest example, by modality and in its unit, such as image=50000000,values=65536 (the defaults): "
        "pixels as they are decoded, numbers of a row. All large examples that are decoded at once have together no "
        "more than one may have.",
    )
    max_request_size: NumbersByModality = Field(
        default={},
        description="Largest sum of the examples of one request, in the same form; by default "
        "image=500000000,values=16777216.",
    )

    response_cache_mb: int = Field(
        default=0, ge=0, description="MiB of memory for answers: equal requests to a version then run once. 0: none."
    )
    shared_memory: bool = Field(
        default=False, description="Whether callers on this machine may name shared memory to read from and write to."
    )
    shared_memory_prefix: str = Field(
        default="maas-",
        pattern=r"^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$",
        description="What the names of all such memory begin with: no other of this machine's is opened.",
    )

    num_newest_versions: int = Field(
        default=1, ge=0, le=1000, description="Newest versions of each model that are loaded without being asked for."
    )
    serve_aliases: bool = Field(
        default=True, description="Whether versions that aliases point at are loaded without being asked for."
    )
    pinned: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names, separated by commas, whose versions are loaded at the start and never evicted: "
        "models/x (what that name means), models/x/versions/3 or models/x/aliases/production.",
    )
    on_demand: bool = Field(
        default=False,
        description="Whether every other version in the registry is loaded when a request names it. The request waits.",
    )
    memory_budget_mb: int = Field(
        default=0,
        ge=0,
        description="MiB on the device for the models' tensors. What is asked for takes the room of what was not used "
        "for the longest time, which is loaded again when it is asked for. 0: no limit.",
    )
    poll_seconds: float = Field(
        default=0.1, gt=0, description="How often the change feed is read on SQLite; PostgreSQL wakes the service."
    )
    drain_deadline_seconds: float = Field(
        default=30.0, ge=0, description="How long a version waits for its requests before it is unloaded without them."
    )
    retry_first_seconds: float = Field(default=1.0, gt=0, description="Wait after the first failure; then it doubles.")
    retry_max_seconds: float = Field(default=60.0, gt=0)

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
        """What is pinned."""
        return tuple(parse_target(name, "pinned") for name in self.pinned)

    @model_validator(mode="after")
    def _check_queue(self) -> Self:
        if min(each.queue_cost for each in self.limits.values()) < self.max_examples_per_request:
            raise ValueError(
                "max_queue_cost must be at least max_examples_per_request, or no queue could take a request"
            )
        return self
