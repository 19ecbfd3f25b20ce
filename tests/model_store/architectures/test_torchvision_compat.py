"""torchvision without what a service does not need of it."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent


def test_building_a_network_does_not_import_the_compiler() -> None:
    """PyTorch's compiler takes a second to import: a service that serves common networks starts without."""
    _run(
        """
        import sys
        from model_store.architectures import Head, build
        for name in ("resnet18", "mobilenet_v2", "efficientnet_b0", "vit_b_16"):
            build(name, {}, Head("linear", 3))
        assert "torchvision" in sys.modules
        assert "torch._dynamo" not in sys.modules
        """
    )


def test_torchvision_still_finds_the_compiler() -> None:
    """What torchvision would have imported is there for the operator that asks for it."""
    _run(
        """
        from model_store.architectures.torchvision_compat import torchvision
        from torchvision.ops.roi_align import is_compile_supported
        from torch._dynamo import utils
        assert is_compile_supported("cpu") == utils.is_compile_supported("cpu")
        assert torchvision.ops.roi_align.__module__ == "torchvision.ops.roi_align"
        """
    )


def test_a_compiler_that_is_there_stays_as_it_is() -> None:
    """A process that has imported PyTorch's compiler keeps its module."""
    _run(
        """
        import sys
        from torch._dynamo import utils
        from model_store.architectures import torchvision_compat
        from torchvision.ops import roi_align
        assert sys.modules["torch._dynamo.utils"] is utils
        """
    )


def _run(code: str) -> None:
    """Run code in a process of its own, as what is imported stays."""
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
