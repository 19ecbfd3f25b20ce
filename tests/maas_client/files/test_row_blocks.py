"""Tables of delimited text in blocks of rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from maas_client.files.blocks import LineRows
from maas_client.files.row_blocks import open_table

LINES = ["a,b", "1,2.5", "", '3,"x', 'y"', "4,-1e3", '"5",6', " ", "7, 8", '"9', '9",9']


@pytest.mark.parametrize("num_rows", [1, 2, 3, 100])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blocks_have_the_rows_and_lines_of_the_file(num_rows: int, end: str, tmp_path: Path) -> None:
    """Wherever a block ends, also within a quoted cell, and beside empty lines."""
    text = end.join(LINES) + end
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode())
    with open_table(path, io.BytesIO()) as table:
        found = [pair for block in table.blocks(num_rows) for pair in zip(block.lines, block.rows, strict=True)]
    reader = csv.reader(io.StringIO(text, newline=""))
    expected = [(reader.line_num, row) for row in reader if row][1:]
    assert found == expected


def test_numbers_are_read_from_lines_that_are_not_split() -> None:
    """A row in Python for each line took longer than all else."""
    rows = LineRows(["1,x,2.5\n", "nan,y, 3\r\n", "-1e3,z,1e-3"], ",")
    numbers = rows.numbers((2, 0))
    assert numbers is not None
    assert numbers[[0, 2]].tolist() == [[2.5, 1], [pytest.approx(1e-3), -1e3]]
    assert "_cells" not in vars(rows)
    assert rows[1] == ["nan", "y", " 3"]


@pytest.mark.parametrize("lines", [["1,"], ["1,x"], ["1,2", "1"], ["1,1_0"]])
def test_lines_with_a_cell_that_is_no_plain_number_have_none(lines: list[str]) -> None:
    """Their cells are read one by one, and each fault is named."""
    assert LineRows(lines, ",").numbers((0, 1)) is None
