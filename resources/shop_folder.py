"""The CSV files of the shop in a folder, read whole; what is wrong in them comes back as faults among the rows."""

from __future__ import annotations

from pathlib import Path

from resources.failures import PermanentFailure
from transforms.shop_rows import FILES, Fault, Row, read_rows


class FolderRefused(PermanentFailure):
    """The folder does not hold the shop's files."""


def read_folder(folder: Path) -> dict[str, list[Row | Fault]]:
    """The rows of every file, by table. Memory is some ten times the files' size.

    Raises:
        FolderRefused: no folder, no file of the shop in it, or one that cannot be read.
    """
    if not folder.is_dir():
        raise FolderRefused(f"{folder} is no folder. Name one that holds {_names()}.")
    found = {}
    for file in FILES:
        path = folder / file.name
        if not path.is_file():
            continue
        try:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                found[file.table] = list(read_rows(file, lines))
        except UnicodeDecodeError as error:
            fault = f"byte {error.object[error.start]:#04x}"
            found[file.table] = [Fault(file.name, 1, "(text)", fault, "UTF-8 throughout the file")]
        except OSError as error:
            raise FolderRefused(f"{path} could not be read: {error.strerror}.") from None
    if not found:
        raise FolderRefused(f"{folder} holds none of the shop's files. Valid names: {_names()}.")
    return found


def _names() -> str:
    return ", ".join(file.name for file in FILES) + " (any of them; a file that is not there adds nothing)"
