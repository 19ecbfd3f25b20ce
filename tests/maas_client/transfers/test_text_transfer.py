"""A text version travels with its tokenizer, and is refused without one that is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from maas_client.errors import InvalidArgument
from maas_client.transfers.publish import publish_base
from model_store.modalities.text.spec import TextInputSpec
from tests.model_store.text_models import text_base, tokenizer_json
from tests.training_service.registry_running import RunningRegistry


def test_a_tokenizer_travels_with_its_version(here: RunningRegistry, there: RunningRegistry, tmp_path: Path) -> None:
    """It is sent with the stages, written to the archive, and is in the other store."""
    base = text_base()
    version = publish_base(here.client, "words", base)
    (file,) = version.input_files
    assert (file.name, file.size_bytes) == ("tokenizer", len(tokenizer_json()))
    here.client.export("words", tmp_path / "words.maas")
    found = there.client.import_archive(tmp_path / "words.maas")
    assert found.manifest_digest == version.manifest_digest
    assert list(found.input_files) == [file]
    assert there.blobs.read(file.digest) == tokenizer_json()


@pytest.mark.parametrize("data", [b"no tokenizer", b"{}"])
def test_a_tokenizer_that_is_none_is_refused(here: RunningRegistry, data: bytes) -> None:
    """The service reads it before it registers the version."""
    base = text_base()
    assert isinstance(base.input_spec, TextInputSpec)
    digest = here.blobs.put([data]).digest
    spec = TextInputSpec(digest, 32, 20)
    with pytest.raises(InvalidArgument, match="tokenizer is not one"):
        publish_base(here.client, "words", replace(base, input_spec=spec, files=(data,)))
    assert not list(here.client.models())


def test_a_tokenizer_must_be_sent(here: RunningRegistry) -> None:
    """A manifest that names one that is nowhere is refused."""
    with pytest.raises(Exception, match="neither stored nor sent"):
        publish_base(here.client, "words", replace(text_base(), files=()))
