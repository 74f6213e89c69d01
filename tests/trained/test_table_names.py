"""A table of evaluations is read by whatever name it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.trained.table import read_table, write_table


@pytest.mark.parametrize("name", ["f\udcc3\udca9ll", "w%20b", "a[b]", "a\\b", "a:b", "s3:x"])
def test_what_was_written_there_is_read_there(name: str, tmp_path: Path) -> None:
    path = write_table([], tmp_path / name / "evaluation.parquet")
    assert path == tmp_path / name / "evaluation.parquet" and path.exists()
    assert read_table(path) == []
    assert write_table([], path) == path  # its own is no foreign one
    path.write_bytes(b"none")
    with pytest.raises(RunError, match="is not a table"):
        read_table(path)
