"""What the demo prints at its end: its figures, and the commands to go on with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from maas_client.demo.subject import Subject
from maas_client.views.output import out, print_table, size
from maas_client.views.outputs import DemoFigures

_INFERENCE = "127.0.0.1:50051 maas.inference.v1.InferenceService"


def show_figures(figures: DemoFigures, subject: Subject) -> None:
    """Print the figures of `run_demo` as a table."""
    rows = [(f"version 1, {subject.first.text}: test accuracy", f"{figures['accuracy_version_1']:.3f}")]
    if "accuracy_untrained" in figures:
        rows.append(("the same on the untrained network", f"{figures['accuracy_untrained']:.3f}"))
    rows += [
        (f"version 2, {subject.second.text}: test accuracy", f"{figures['accuracy_version_2']:.3f}"),
        ("publish to first answer from version 2", f"{figures['seconds_publish_to_first_answer']:.2f} s"),
        ("requests while version 2 was made and swapped in", str(figures["num_requests_during_swap"])),
        ("of them failed", str(figures["num_failed_during_swap"])),
        ("bytes of the base", size(figures["base_bytes"])),
        ("bytes that version 1 added to the store", size(figures["added_bytes_version_1"])),
        ("bytes that version 2 added to the store", size(figures["added_bytes_version_2"])),
    ]
    print_table("what came of it", ["figure", "value"], rows, "")


def show_next_steps(output: Path, subject: Subject, data: Path) -> None:
    """Print the commands to go on with, for examples of the demo's data."""
    out.print("go on with:", highlight=False)
    for command in _next_steps(output, subject, data):
        out.print(f"  {command}", highlight=False, soft_wrap=True, markup=False)


def _next_steps(output: Path, subject: Subject, data: Path) -> Iterator[str]:
    programs = Path(sys.executable).parent
    maas, grpcurl = programs / "maas", f"{programs / 'grpcurl'} -plaintext"
    model = f'"name": "models/{subject.name}"'
    example = data if data.is_file() else next(path for path in sorted(data.rglob("*")) if path.is_file())
    yield f"MAAS_HOME={output / 'home'} {maas} up      # in another terminal"
    yield f"{maas} predict {subject.name} {example}"
    yield f"{grpcurl} 127.0.0.1:50051 list"
    yield f"{grpcurl} -d '{{{model}}}' {_INFERENCE}/GetServedModel"
    if data.is_dir():
        request = f'{{{model}, "examples": [{{"file": "%s"}}]}}'
        yield f"printf '{request}' $(base64 -w0 {example}) | {grpcurl} -d @ {_INFERENCE}/Predict"
