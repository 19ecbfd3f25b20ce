"""Generate the gRPC code from the protos when the package is built or installed."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTOS = Path(__file__).parent


def generate() -> None:
    """Write `*_pb2.py`, `*_pb2.pyi` and `*_pb2_grpc.py` beside each proto."""
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("maas/**/*.proto"))
    includes = [f"-I{folder}" for folder in (PROTOS, PROTOS / "third_party", files("grpc_tools") / "_proto")]
    outputs = [f"--{kind}_out={PROTOS}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *includes, *outputs, *sources]) != 0:
        sys.exit("protoc failed: see its message above")


class ProtoBuildHook(BuildHookInterface[Any]):
    """Run `generate` before hatchling collects files."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate in place: hatchling picks the results up as artifacts."""
        generate()


if __name__ == "__main__":
    generate()
