"""Data files that no commit will name are not left behind, whichever call to the file system failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pytest

from resources.parquet_writer import WrittenFile, write_files
from tests.resources.test_lake import SMALL, TODAY, TOMORROW, numbers


class Failing(pyarrow.fs.LocalFileSystem):
    """Refuses one kind of call from the second on."""

    def __init__(self, refused: str) -> None:
        super().__init__()
        self._refused, self._asked = refused, 0

    def _ask(self, what: str) -> None:
        self._asked += what == self._refused
        if self._asked > 1:
            raise OSError(f"{what} was refused")

    def create_dir(self, path: str, *, recursive: bool = True) -> None:
        self._ask("create_dir")
        super().create_dir(path, recursive=recursive)

    def get_file_info(self, paths_or_selector: Any) -> Any:
        self._ask("get_file_info")
        return super().get_file_info(paths_or_selector)


@pytest.mark.parametrize("refused", ["create_dir", "get_file_info"])
def test_where_a_file_fails_none_of_its_batch_is_left(tmp_path: Path, refused: str) -> None:
    """The size was asked for outside of what removes: the files stood there, and nothing pointed to them."""
    written: list[WrittenFile] = []
    two_days = pa.concat_tables([numbers(1, 2), numbers(3, day=TOMORROW)])
    with pytest.raises(OSError, match=f"{refused} was refused"):
        write_files(Failing(refused), str(tmp_path), SMALL, two_days, written)
    assert written == []
    assert list(tmp_path.rglob("*.parquet")) == []
    write_files(pyarrow.fs.LocalFileSystem(), str(tmp_path), SMALL, two_days, written)
    assert [file.partition_values for file in written] == [{"day": str(TODAY)}, {"day": str(TOMORROW)}]
    assert [(tmp_path / file.path).stat().st_size for file in written] == [file.size for file in written]
