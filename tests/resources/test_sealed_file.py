"""A sealed file opens whole and as it was, or says what is wrong with it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from resources.sealed_file import PIECE_BYTES, Header, SealBroken, open_file, read_header, seal_file

KEY, PLACE = bytes(range(32)), "lake/a/b.parquet.sealed"


def sealed(folder: Path, held: bytes, place: str = PLACE, name: str = "file") -> Path:
    assert seal_file(io.BytesIO(held), folder / name, place, KEY) == len(held)
    return folder / name


def opened(path: Path, place: str = PLACE, key: bytes = KEY) -> bytes:
    target = io.BytesIO()
    assert open_file(path, place, lambda header: key, target) == len(target.getvalue())
    return target.getvalue()


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES])
def test_what_was_sealed_opens_as_it_was(tmp_path: Path, size: int) -> None:
    held = os.urandom(size)
    path = sealed(tmp_path, held)
    assert opened(path) == held
    assert held[:64] not in path.read_bytes() or size < 8
    assert path.stat().st_mode & 0o077 == 0


def test_two_files_of_one_key_have_nothing_in_common(tmp_path: Path) -> None:
    first, second = sealed(tmp_path, bytes(100)), sealed(tmp_path, bytes(100), name="second")
    assert first.read_bytes()[-100:] != second.read_bytes()[-100:]


def test_it_is_never_written_over_another(tmp_path: Path) -> None:
    sealed(tmp_path, b"first")
    with pytest.raises(FileExistsError):
        sealed(tmp_path, b"second")


def pieces(path: Path) -> tuple[bytes, list[bytes]]:
    """Header, and pieces with their lengths."""
    with path.open("rb") as file:
        header = read_header(file, path).line()
        found = []
        while length := file.read(4):
            found.append(length + file.read(int.from_bytes(length, "big")))
    return header, found


def test_pieces_cannot_be_left_out_doubled_reordered_or_cut_off(tmp_path: Path) -> None:
    path = sealed(tmp_path, os.urandom(2 * PIECE_BYTES + 5))
    header, (first, second, last) = pieces(path)
    for wrong in ([first, second], [first, last], [second, first, last], [first, first, second, last], [first], []):
        path.write_bytes(header + b"".join(wrong))
        with pytest.raises(SealBroken, match=r"cut short|does not open"):
            opened(path)
    path.write_bytes(header + first + second + last + b"x")
    with pytest.raises(SealBroken, match="behind its end"):
        opened(path)


@pytest.mark.parametrize("at", [5, -1, -20, 300])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path, at: int) -> None:
    path = sealed(tmp_path, os.urandom(2000))
    held = bytearray(path.read_bytes())
    held[at] ^= 1
    path.write_bytes(held)
    with pytest.raises(SealBroken):
        opened(path)


def test_another_key_another_place_and_another_file_are_told(tmp_path: Path) -> None:
    path = sealed(tmp_path, b"held")
    with pytest.raises(SealBroken, match="its key is another"):
        opened(path, key=bytes(32))
    with pytest.raises(SealBroken, match="somebody moved it"):
        opened(path, place="lake/a/c.parquet.sealed")
    path.write_bytes(path.read_bytes().replace(b"b.parquet", b"c.parquet"))
    with pytest.raises(SealBroken, match="does not open"):
        opened(path, place="lake/a/c.parquet.sealed")
    path.write_bytes(b"PAR1 something else")
    with pytest.raises(SealBroken, match="no file of a backup"):
        opened(path)


def test_the_header_says_which_key_and_no_more(tmp_path: Path) -> None:
    seal_file(io.BytesIO(b"x"), tmp_path / "file", PLACE, KEY, "2026-03-05_name")
    with (tmp_path / "file").open("rb") as file:
        header = read_header(file, tmp_path / "file")
    assert header == Header(PLACE, "2026-03-05_name", header.salt)
