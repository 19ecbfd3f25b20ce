"""Names of the hub, of both libraries: a server on this machine speaks what the hub's own client asks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model_store.bases.catalogue import load_base, load_random
from model_store.bases.image.official_weights import imagenet_labels
from model_store.calibration import batch_of
from model_store.errors import BaseUnavailable, InvalidInput
from model_store.modalities import Batch, prepared
from tests.model_store.bases.hub_server import HubServer, hub_server
from tests.model_store.text_models import TOPICS, save_folder, text_base

pytest.importorskip("huggingface_hub")
TIMM = "timm/test_vit.r160_in1k"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub without models, and an empty cache of the client: as HF_ENDPOINT and HF_HUB_CACHE set them at its start."""
    with hub_server(tmp_path / "hub") as server:
        constants = "huggingface_hub.constants"
        monkeypatch.setattr(f"{constants}.ENDPOINT", server.endpoint)
        url = f"{server.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield server


def repository(hub: HubServer, name: str) -> Path:
    """Return the folder of a new repository."""
    folder = hub.root / name
    folder.mkdir(parents=True)
    return folder


def test_a_text_encoder_comes_from_the_hub(hub: HubServer) -> None:
    """As its folder is imported, and nothing but JSON and safetensors is taken; the second time all is in the cache."""
    wanted = text_base()
    folder = save_folder(repository(hub, "owner/words"), wanted)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("raise SystemExit")
    found = load_base("hf:owner/words")
    assert (found.architecture, found.arguments, found.input_spec) == ("bert", wanted.arguments, wanted.input_spec)
    assert (found.origin["source"], found.origin["repository"]) == ("huggingface", "owner/words")
    rows = batch_of(prepared(wanted.input_spec, TOPICS["sea"], 1000), torch.device("cpu"))
    with torch.no_grad():
        given, own = (each.chain(wanted.input_spec.to_input(rows)) for each in (found, wanted))
    assert torch.equal(given, own)
    assert {Path(name).suffix for name in hub.files_sent} == {".json", ".safetensors"}
    taken = len(hub.files_sent)
    load_base("hf:owner/words")
    assert len(hub.files_sent) == taken


def test_timms_weights_come_from_the_hub(hub: HubServer) -> None:
    """Of the repository that timm names, with its labels and its licence."""
    pytest.importorskip("timm")
    wanted = load_random("timm:test_vit", seed=5, num_labels=1000)
    save_file(wanted.chain.state_dict_torchvision(), repository(hub, TIMM) / "model.safetensors")
    found = load_base("timm:test_vit")
    rows = Batch.of(torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        assert torch.equal(found.chain(rows), wanted.chain(rows))
    assert found.labels == imagenet_labels()
    assert (found.origin["source"], found.origin["weights"]) == ("timm", TIMM)
    assert found.origin["licence"]
    assert hub.files_sent == ["model.safetensors"]


def test_what_the_hub_has_not_is_said(hub: HubServer) -> None:
    """A repository that is not there, and one whose weights are a pickle alone."""
    with pytest.raises(BaseUnavailable, match="cannot download owner/words from the hub"):
        load_base("hf:owner/words")
    (save_folder(repository(hub, "owner/pickled"), text_base()) / "model.safetensors").rename(
        hub.root / "owner/pickled/pytorch_model.bin"
    )
    with pytest.raises(InvalidInput, match=r"model\.safetensors is not in the folder"):
        load_base("hf:owner/pickled")
    (repository(hub, TIMM) / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(InvalidInput, match=r"has no model\.safetensors: no other file of weights is read"):
        load_base("timm:test_vit")
    assert not [name for name in hub.files_sent if name.endswith(".bin")]
