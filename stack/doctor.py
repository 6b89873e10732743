"""What this machine lacks for a stack, each in a sentence, with how to get it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from resources.settings import MEBIBYTE, Settings, SettingsError, load_settings
from stack import directory
from stack.errors import StackError, StackMissing
from stack.kafka import has_jars, jars, java
from stack.paths import Layout
from stack.ports import is_free
from stack.postgres_place import account_for, can_pass, can_run, installed_programs
from stack.state import load_state

DISK_BYTES = 2048 * MEBIBYTE
JAVA_LEAST = 17


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `needed`: `up` cannot do without it."""

    name: str
    ok: bool
    sentence: str
    needed: bool = True


def examine(home: Path) -> list[Finding]:
    """Look at everything. Starts no server, changes nothing."""
    layout = Layout(home.absolute())
    try:
        settings = load_settings({"home": str(layout.home)})
    except SettingsError as error:
        return [*_machine(layout), Finding("settings", False, str(error))]
    looks: list[Callable[[Layout, Settings], Finding]] = [_jars, _directory, _postgres, _ports]
    return [*_machine(layout), *(look(layout, settings) for look in looks)]


def insist(home: Path) -> None:
    """Stop with the sentence of everything that `up` cannot do without.

    Raises:
        StackError: something is missing.
    """
    missing = [finding.sentence for finding in examine(home) if finding.needed and not finding.ok]
    if missing:
        raise StackError("\n".join(missing))


def _machine(layout: Layout) -> list[Finding]:
    return [_python(), _java(), _maven(), _supervisor(), _folder(layout), _disk(layout)]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        how = "install it (Debian: apt install python3-venv), or `make` cannot build .venv anew."
        return Finding("python", False, f"Python {version} has no venv module: {how}", needed=False)
    return Finding("python", True, f"{version} at {sys.executable}")


def _java() -> Finding:
    how = f"install {JAVA_LEAST} or newer (Debian: apt install openjdk-17-jre-headless), or set JAVA_HOME."
    program = java()
    if program is None:
        return Finding("java", False, f"Java is missing: {how} Kafka runs on it.")
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("java", False, f"{program} does not run ({error}): {how}")
    found = re.search(r'version "(\d+)', done.stderr)
    if found is None:
        return Finding("java", False, f"{program} does not say its version ({done.stderr.strip()[:100]!r}): {how}")
    if int(found[1]) < JAVA_LEAST:
        return Finding("java", False, f"Java {found[1]} at {program} is too old: {how}")
    return Finding("java", True, f"{found[1]} at {program}")


def _maven() -> Finding:
    found = shutil.which("mvn")
    if found is None:
        how = "install it (Debian: apt install maven); it brings Kafka's jars."
        return Finding("maven", False, f"Maven (mvn) is missing: {how}", needed=False)
    return Finding("maven", True, found)


def _supervisor() -> Finding:
    if find_spec("supervisor") is None:
        return Finding(
            "supervisor", False, "The package `supervisor` is missing: install the locked requirements (`make`)."
        )
    return Finding("supervisor", True, "installed")


def _folder(layout: Layout) -> Finding:
    place = _existing(layout.home)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        how = "choose another with --home or DARKROOM_HOME."
        return Finding("home", False, f"{layout.home} cannot be made or written: {place} does not allow it; {how}")
    return Finding("home", True, str(layout.home))


def _disk(layout: Layout) -> Finding:
    place = _existing(layout.home)
    free = shutil.disk_usage(place).free
    least = f"{DISK_BYTES // MEBIBYTE} MiB"
    if free < DISK_BYTES:
        how = "free some, or choose another folder with --home."
        return Finding("disk", False, f"{place} has {free // MEBIBYTE} MiB left, under {least}: {how}")
    return Finding("disk", True, f"{free // (1024 * MEBIBYTE)} GiB free at {place}")


def _jars(layout: Layout, settings: Settings) -> Finding:
    folder = jars(settings)
    if not has_jars(folder):
        how = "run `make jars` (mvn --file jvm/pom.xml package), or name their folder with DARKROOM_JARS."
        return Finding("kafka", False, f"Kafka's jars are not in {folder}: {how}")
    return Finding("kafka", True, f"jars in {folder}")


def _directory(layout: Layout, settings: Settings) -> Finding:
    folder = directory.jars(settings)
    if not directory.has_jars(settings):
        how = "run `make jars` (mvn --file jvm/directory/pom.xml package)."
        return Finding(directory.DIRECTORY, False, f"The directory's jars are not in {folder}: {how}")
    return Finding(directory.DIRECTORY, True, f"jars in {folder}")


def _postgres(layout: Layout, settings: Settings) -> Finding:
    account = account_for(os.getuid())
    programs = installed_programs()
    if account is None:
        if not can_run(None, programs):
            return Finding(
                "postgres",
                False,
                f"{programs / 'bin' / 'postgres'} does not run here: install the locked requirements.",
            )
        return Finding("postgres", True, f"programs in {programs}")
    place = _existing(layout.home)
    blocked = [str(folder) for folder in (programs, place) if not can_pass(account, folder)]
    if blocked:
        where = "`up` will put its programs and data into a folder under the system's temporary area"
        sentence = f"PostgreSQL does not run as root, and {account!r} cannot enter {' and '.join(blocked)}: {where}."
        return Finding("postgres", True, sentence, needed=False)
    return Finding("postgres", True, f"programs in {programs}, run as {account!r}")


def _ports(layout: Layout, settings: Settings) -> Finding:
    try:
        state = load_state(layout.home)
    except StackMissing:
        return Finding("ports", True, "chosen at the first `up`", needed=False)
    except StackError as error:
        return Finding("ports", False, str(error))
    from stack.supervision import Supervisor

    if Supervisor(layout, state).runs():
        return Finding("ports", True, "in use by this stack", needed=False)
    taken = [f"{port} ({name})" for name, port in state.ports.items() if not is_free(port)]
    if taken:
        sentence = (
            f"Another process has taken {', '.join(taken)}: end it, or let `up` choose other ports, and say which."
        )
        return Finding("ports", False, sentence, needed=False)
    return Finding("ports", True, "free", needed=False)


def _existing(path: Path) -> Path:
    """The path, or the nearest parent that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
