"""Which files `darkroom send` sends: what the paths name, and every regular file below the folders among them.

A file is not judged by its name: the door knows an image by its content, and says for each file that is none. Hidden
files and folders (a leading dot) are left out unless named themselves; links to folders are not followed, so that a
walk ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.failures import PermanentFailure


class NothingThere(PermanentFailure):
    """A path that was named does not exist, or is neither a file nor a folder."""


@dataclass(frozen=True)
class FileItem:
    """A file to send. `size` in bytes, as it was when the folder was walked; -1 where that could not be asked."""

    path: Path
    label: str | None
    size: int

    @property
    def name(self) -> str:
        """What the person calls it."""
        return str(self.path)

    @property
    def filename(self) -> str | None:
        """What the door is told."""
        return self.path.name

    def read(self) -> bytes:
        """Its bytes; raises OSError."""
        return self.path.read_bytes()


def gather(paths: Sequence[Path], label: str | None = None, label_from_folder: bool = False) -> list[FileItem]:
    """The files that `paths` name, each once, in the order of the paths and of names within a folder.

    Args:
        paths: files and folders.
        label: the label of each file.
        label_from_folder: a file's label is the name of the folder it lies in, where that is below a folder of `paths`;
            `label` is for the others.

    Raises:
        NothingThere: names every path that is not there, before anything is sent.
    """
    missing = [path for path in paths if not (path.is_file() or path.is_dir())]
    if missing:
        listed = ", ".join(
            f"{path} ({'a special file' if path.exists() else 'no such file or folder'})" for path in missing
        )
        raise NothingThere(f"Nothing was sent: {listed}. Name files, or folders to send all that is in them.")
    items: dict[str, FileItem] = {}
    for root in paths:
        for path in _files(root):
            own = path.parent.name if label_from_folder and path.parent != root and path != root else None
            items.setdefault(os.path.abspath(path), FileItem(path, own or label, _size(path)))
    return list(items.values())


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            # A pipe or a socket would never end; a link to nothing cannot be read, which is worth saying.
            if not name.startswith(".") and (path.is_file() or path.is_symlink()):
                yield path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
