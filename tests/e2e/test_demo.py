"""`maas demo` of each modality, as a person types it: real data, real weights, real processes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from grpc_runtime.child_process import command_of
from maas_client.demo.debian import has_apt


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("options", [[], ["--text"], ["--table"], ["--audio"]], ids=["image", "text", "table", "audio"])
def test_a_demo_runs(options: Sequence[str], tmp_path: Path) -> None:
    """Pretrained beats untrained, and no request fails while the second version is swapped in."""
    if "--audio" in options and not has_apt():
        pytest.skip("the recordings come from packages of Debian")
    command = [*command_of("maas_client"), "demo", *options, "--json", "--output", str(tmp_path / "output")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ), check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["num_failed_during_swap"] == 0
    assert figures["num_requests_during_swap"] > 0
    assert figures["accuracy_version_2"] > figures.get("accuracy_untrained", 0.8)
    if "accuracy_untrained" in figures:  # there is a backbone to share
        assert 0 < figures["added_bytes_version_1"] < 0.05 * figures["base_bytes"]
