"""What is missing is said in a sentence: by `make`, before anything is installed, and by the doctor."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from stack import doctor
from stack.home import make
from stack.paths import Layout
from stack.state import StackState, save_state

PREFLIGHT = Path(__file__).parents[2] / "stack" / "preflight.sh"


def found(home: Path, name: str) -> doctor.Finding:
    (finding,) = [one for one in doctor.examine(home) if one.name == name]
    return finding


def preflight(folder: Path, *programs: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the check of `make` where only the named programs and a shell's own are to be found."""
    for program in ("sh", "sed", "head", *programs):
        path = shutil.which(program)
        assert path is not None, f"this machine has no {program}, which the test needs"
        (folder / program).symlink_to(path)
    return subprocess.run(
        [str(folder / "sh"), str(PREFLIGHT)],
        capture_output=True,
        text=True,
        env={"PATH": str(folder), **environment},
    )


def test_make_says_everything_that_is_missing_at_once_a_sentence_each_and_stops(tmp_path: Path) -> None:
    done = preflight(tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split(" is missing")[0] for line in lines] == ["Python 3.11 or newer", "Java", "Maven (mvn)"]
    assert all("apt install" in line for line in lines)


def test_make_names_a_java_that_is_too_old_and_a_python_without_venv(tmp_path: Path) -> None:
    (tmp_path / "java").write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    (tmp_path / "mvn").write_text("#!/bin/sh\n")
    (tmp_path / "python3").write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n')
    for program in ("java", "mvn", "python3"):
        (tmp_path / program).chmod(0o755)
    done = preflight(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "python3 has no venv module: install it (Debian: apt install python3-venv).",
        "Java 11 is too old: install 17 or newer (Debian: apt install openjdk-17-jre-headless), or set JAVA_HOME.",
    ]


def test_make_prints_the_python_to_use_when_nothing_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(["sh", str(PREFLIGHT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    version = subprocess.run(
        [done.stdout.strip(), "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True
    )
    assert version.stdout.strip() == b"True"


def test_a_disk_that_is_almost_full_is_needed_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(tmp_path / "home", "disk").ok
    monkeypatch.setattr(doctor, "DISK_BYTES", 1 << 60)
    said = found(tmp_path / "home", "disk")
    assert (said.ok, said.needed) == (False, True)
    assert "MiB left" in said.sentence and "--home" in said.sentence


def test_a_home_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    said = found(tmp_path / "file" / "home", "home")
    assert (said.ok, said.needed) == (False, True)
    assert "cannot be made or written" in said.sentence


def test_a_port_that_another_process_has_is_named_with_its_service(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    make(layout)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        save_state(tmp_path, state_with(tmp_path, {"dagster": taken}))
        said = found(tmp_path, "ports")
    assert not said.ok and not said.needed
    assert f"{taken} (dagster)" in said.sentence


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts PostgreSQL as another account: run as root")
def test_a_folder_that_postgresqls_account_cannot_enter_is_said_with_where_it_goes_instead(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    said = found(tmp_path / "home", "postgres")
    assert said.ok, "it is no obstacle: up goes elsewhere"
    assert f"cannot enter {tmp_path}" in said.sentence or str(tmp_path) in said.sentence
    assert "temporary area" in said.sentence


def state_with(home: Path, ports: dict[str, int]) -> StackState:
    """The memory of a stack that does not run."""
    return StackState(id="test", home=home, run=home / "run", ports=ports)
