"""A search of a disk that is at work: what goes meanwhile is left out, and what cannot be read is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from resources import raw_search
from resources.raw_search import below, search


def test_hidden_and_nested_files_are_searched(tmp_path: Path) -> None:
    (tmp_path / ".a" / "b").mkdir(parents=True)
    (tmp_path / ".a" / "b" / ".c").write_bytes(b"before needle after")
    assert search(tmp_path, {"n": b"needle", "m": b"nothing"}) == {"n": {".a/b/.c"}, "m": set()}


def test_a_folder_that_goes_while_it_is_walked_is_left_out(tmp_path: Path) -> None:
    for name in ("gone", "stays"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"needle")
    seen = []
    for path in below(tmp_path):
        seen.append(path.relative_to(tmp_path).as_posix())
        if path.name == "gone":
            (path / "file").unlink()
            path.rmdir()
    assert sorted(seen) == ["gone", "stays", "stays/file"]
    assert search(tmp_path / "nowhere", {"n": b"needle"}) == {"n": set()}


def test_a_folder_that_cannot_be_read_is_no_folder_without_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder)))
        return iter(())

    monkeypatch.setattr(raw_search.os, "walk", refuse)
    with pytest.raises(PermissionError):
        search(tmp_path, {"n": b"needle"})
