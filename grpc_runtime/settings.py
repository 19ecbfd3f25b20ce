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

    home: Path = Field(
        default=Path("~/.maas"), description="Folder of the store, the cache and the logs, unless set apart below."
    )
    database_url: str = Field(
        default="",
        description="`postgresql://user:password@host/database` (the extra `postgres`). Empty: SQLite in `MAAS_HOME`.",
    )
    blobs_url: str = Field(
        default="",
        description="Folder of the blobs; or `s3://bucket/prefix` (the extra `s3`; server and credentials in the usual "
        "`AWS_…` variables); or another URL of fsspec. Empty: `blobs` in `MAAS_HOME`.",
    )
    cache_dir: Path | None = Field(
        default=None,
        description="Folder of data that can be made again: copies of remote blobs, prepared rows. Empty: `cache` in "
        "`MAAS_HOME`.",
    )
    cache_bytes: int = Field(
        default=20 * 1024**3,
        ge=0,
        description="Disk space of the copies of remote blobs. The least recently used are removed first.",
    )
    log_format: Literal["json", "console"] = Field(default="json", description="Format of the lines on standard error.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged; of libraries, at least `warning`."
    )

    @property
    def folder(self) -> Path:
        """`home`, expanded."""
        return expanded(self.home, "MAAS_HOME")

    @property
    def cache_folder(self) -> Path:
        """The folder of data that can be made again: `cache_dir`, expanded, by default below `home`."""
        return expanded(self.cache_dir, "MAAS_CACHE_DIR") if self.cache_dir else self.folder / "cache"

    def open_database(self) -> Database:
        """Connect to the database and create the schema in an empty one; raise SchemaMismatch for another schema."""
        database = self.connect()
        database.open_schema()
        return database

    def connect(self) -> Database:
        """Connect to the database without a check of its schema."""
        return Database(self.database_url or sqlite_url(self.folder / "store.db"))

    def open_blobs(self) -> BlobStore:
        """Open the blob store, creating its folder or cache; raise InvalidInput where the URL names none."""
        url = self.blobs_url or str(self.folder / "blobs")
        return open_blobs(url, cache=self.cache_folder, cache_bytes=self.cache_bytes)


class ServerSettings(StoreSettings):
    """The settings of a gRPC server.

    A service sets its own `env_prefix`. Each field is read from a variable of that prefix, else from `MAAS_{FIELD}`:
    `MAAS_HOME` reaches every service, `MAAS_TRAINING_LOG_LEVEL` one.
    """

    bind: str = Field(description="Address to listen on, `host:port`. Port 0: any free port.")
    address_file: Path | None = Field(
        default=None,
        description="File that receives the address once the service listens; one for each service. Empty: none.",
    )
    drain_seconds: float = Field(default=10.0, description="Time for requests in flight when the service stops.")
    stop_at_end_of_input: bool = Field(
        default=False, description="Stop when standard input ends, so that no service outlives its parent process."
    )
    max_message_bytes: int = Field(
        default=64 * 1024 * 1024, description="Size limit of a message. The client sends no message above 64 MiB."
    )
    max_calls: int = Field(
        default=4096, ge=1, description="Limit of concurrent calls, streams included. More calls are refused."
    )
    max_connections: int = Field(
        default=500, ge=1, description="Limit of open connections. More connections are closed."
    )
    max_calls_per_connection: int = Field(
        default=1024, ge=1, description="Limit of concurrent calls of one connection. More calls wait in the client."
    )
    upload_idle_seconds: float = Field(
        default=60.0, gt=0, description="Longest pause of an upload stream before it is aborted."
    )
    keepalive_seconds: float = Field(
        default=30.0, gt=0, description="Interval of pings on a silent connection, and the time limit of their answers."
    )
    connection_idle_seconds: float = Field(
        default=900.0, gt=0, description="A connection without calls is closed after this time; clients reconnect."
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
