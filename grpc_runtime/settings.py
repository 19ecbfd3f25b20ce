"""Settings that every maas process shares: where the store is, and how to log. Read from `MAAS_…` variables."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from grpc_runtime.addresses import check_bind
from model_store.blobs import BlobStore
from model_store.blobs.urls import open_blobs
from model_store.database.engine import Database, sqlite_url
from model_store.home_folder import expanded


class StoreSettings(BaseSettings):
    """Where the model store is; by default everything lives below `MAAS_HOME`."""

    model_config = SettingsConfigDict(env_prefix="MAAS_", extra="ignore", allow_inf_nan=False)

    home: Path = Path("~/.maas")
    database_url: str = ""
    blobs_url: str = ""
    cache_dir: Path | None = None
    cache_bytes: int = Field(default=20 * 1024**3, ge=0)
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def folder(self) -> Path:
        """`home`, expanded."""
        return expanded(self.home, "MAAS_HOME")

    @property
    def cache_folder(self) -> Path:
        """What can be made again: `cache_dir`, expanded, by default below `home`."""
        return expanded(self.cache_dir, "MAAS_CACHE_DIR") if self.cache_dir else self.folder / "cache"

    def open_database(self) -> Database:
        """Connect to the database, creating the schema where it is empty; raise SchemaMismatch where it is another."""
        database = self.connect()
        database.open_schema()
        return database

    def connect(self) -> Database:
        """Connect to the database, whatever schema it has."""
        return Database(self.database_url or sqlite_url(self.folder / "store.db"))

    def open_blobs(self) -> BlobStore:
        """Open the blob store, creating its folder or cache; raise InvalidInput where the URL names none."""
        url = self.blobs_url or str(self.folder / "blobs")
        return open_blobs(url, cache=self.cache_folder, cache_bytes=self.cache_bytes)


class ServerSettings(StoreSettings):
    """A gRPC server's own: where it listens, and how long it waits for requests in flight when it stops.

    A service sets an `env_prefix` of its own; each field is read from a variable of that prefix, else from
    `MAAS_{FIELD}`: so `MAAS_HOME` reaches every service and `MAAS_TRAINING_LOG_LEVEL` one alone.
    """

    bind: str
    address_file: Path | None = None
    drain_seconds: float = 10.0
    stop_at_end_of_input: bool = False
    max_message_bytes: int = 64 * 1024 * 1024
    max_calls: int = Field(
        default=4096, ge=1, description="Calls under way at once, streams included; more are refused."
    )
    max_connections: int = Field(default=500, ge=1, description="Connections at once; more are closed.")
    max_calls_per_connection: int = Field(default=1024, ge=1, description="More wait in the client.")
    upload_idle_seconds: float = Field(
        default=60.0, gt=0, description="How long an upload may pause before it is given up."
    )
    keepalive_seconds: float = Field(
        default=30.0, gt=0, description="How often a silent connection is tested, and how long its answer may take."
    )
    connection_idle_seconds: float = Field(
        default=900.0, gt=0, description="A connection without calls is closed after that; clients open it again."
    )

    @field_validator("bind")
    @classmethod
    def _check_bind(cls, bind: str) -> str:
        return check_bind(bind)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the shared variables after this service's own."""
        return init_settings, env_settings, EnvSettingsSource(settings_cls, env_prefix="MAAS_")


def wrong_settings(error: ValidationError) -> str:
    """Say which settings are wrong, and why, on one line."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'settings'}: {each['msg'].removeprefix('Value error, ')}"
        for each in error.errors()
    )
