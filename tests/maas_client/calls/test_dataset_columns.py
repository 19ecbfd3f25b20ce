"""The columns that an upload names are looked for in the file before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from maas_client import Client, errors

NOBODY = "127.0.0.1:1"
ROLES = {"Stadt": "group", "pirce": "target"}


@pytest.mark.parametrize(
    ("header", "encoding"),
    [("id,price,Stadt", "utf-8-sig"), ("id; price ;Stadt", "utf-8"), ('"id"\t"price"\t"Stadt"', "utf-16")],
)
def test_a_column_that_the_file_lacks_is_named(tmp_path: Path, header: str, encoding: str) -> None:
    """With the nearest name first, then all of them; no service is asked."""
    table = tmp_path / "houses.csv"
    table.write_text(f"{header}\n1,2,x\n", encoding=encoding)
    with Client(NOBODY) as client, pytest.raises(errors.InvalidArgument, match=r"has no column 'pirce'") as caught:
        client.upload_dataset("houses", table, columns=ROLES)
    assert caught.value.hint == "Do you mean 'price'? The columns are 'id', 'price', 'Stadt'."


@pytest.mark.parametrize("content", [b"", b"pirce,Stadt\n", b"\xff\xfe\x00", b'"pirce'])
def test_what_only_the_service_can_judge_is_sent(tmp_path: Path, content: bytes) -> None:
    """A file with these columns, and one that cannot be read here."""
    table = tmp_path / "houses.csv"
    table.write_bytes(content)
    with Client(NOBODY) as client, pytest.raises(errors.Unavailable):
        client.upload_dataset("houses", table, columns=ROLES)
