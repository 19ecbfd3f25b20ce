"""`maas store export` and `maas store import`: versions as files, to and from a service anywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maas_client.client import Client
from maas_client.failures import store_errors_explained
from maas_client.files.version_archive import blob_sizes
from maas_client.typed.caller import caller
from maas_client.views.output import AsJson, out, print_json, size
from maas_client.views.progress import byte_bar


class Format(StrEnum):
    """What kind of file a version becomes."""

    ARCHIVE = "archive"
    TORCHVISION = "torchvision"
    TORCH_EXPORT = "torch-export"
    ONNX = "onnx"
    HUGGINGFACE = "huggingface"


def export_version(
    version: Annotated[str, typer.Argument(help="flowers (as production has it), flowers/3 or flowers@canary.")],
    file: Annotated[Path, typer.Argument(dir_okay=False, help="File to write, such as flowers-3.maas.")],
    kind: Annotated[
        Format,
        typer.Option(
            "--format",
            help="An archive, a state dict as torchvision has it (.safetensors, .pth), or a program that runs alone.",
        ),
    ] = Format.ARCHIVE,
    *,
    as_json: AsJson = False,
) -> None:
    """Write one version to a file, through the service: to import elsewhere, its weights alone, or as a program."""
    with Client() as client, store_errors_explained():
        found = client.version(version)
        total = sum(blob_sizes(found).values())
        with byte_bar(f"exporting {found.name}", total, then="writing") as advance:
            client.export(found.name, file, kind=kind.value, on_bytes=advance)
    files = [each for each in file.rglob("*") if each.is_file()] if file.is_dir() else [file]
    written = sum(each.stat().st_size for each in files)
    if as_json:
        facts = {"version": found.name, "manifest_digest": found.manifest_digest}
        print_json({**facts, "file": str(file), "size_bytes": written})
        return
    out.print(f"{found.name} -> {file}: {size(written)}, manifest {found.manifest_digest}", highlight=False)
    if kind is Format.TORCHVISION and not found.output_count:
        out.print("it is a backbone without a head: load it with strict=False")


def import_version(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="File that `maas store export` wrote.")],
    model: Annotated[str, typer.Option(help="Id of the model to register it under; default: the one it was of.")] = "",
    alias: Annotated[str, typer.Option(help="Alias to point at it.")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Register the version in an archive, through the service; again, and only what is missing is sent."""
    with Client() as client, byte_bar(f"importing {file.name}", 2 * file.stat().st_size, then="registering") as advance:
        version = client.import_archive(file, model=model, alias=alias, actor=caller(), on_bytes=advance)
    if as_json:
        print_json(version)
        return
    added = f"{size(version.size_bytes)} (+{size(version.added_bytes)})"
    out.print(f"{version.name}: {version.architecture}, {added}, manifest {version.manifest_digest}", highlight=False)
