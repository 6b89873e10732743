"""The jars that Maven brings are the ones that the repository has hashes of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def jars(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As the Makefile asks, by a Python that has no package of ours."""
    command = [sys.executable, "-I", str(ROOT / "stack" / "jars.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """Options for a folder with two jars, whose hashes are kept."""
    folder = tmp_path / "target" / "kafka"
    folder.mkdir(parents=True)
    for name in ("a-1.jar", "b-1.jar", "darkroom-own.jar"):
        (folder / name).write_text(name)
    options = ["--target", str(tmp_path / "target"), "--hashes", str(tmp_path / "jars.sha256")]
    assert jars("--write", "kafka", *options).returncode == 0
    assert jars(*options).returncode == 0
    return options


def test_the_jars_here_are_those_of_the_repository() -> None:
    folders = [one for one in ("kafka", "directory") if (ROOT / "jvm" / "target" / one).is_dir()]
    assert folders, "make jars brings them"
    done = jars(*folders)
    assert done.returncode == 0, done.stderr


def test_another_file_one_too_many_and_one_that_is_missing_are_named(given: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "target" / "kafka"
    (folder / "a-1.jar").write_text("another")
    (folder / "b-1.jar").rename(folder / "b-2.jar")
    done = jars("kafka", *given)
    assert done.returncode == 1
    changed, unknown, missing, what_to_do = done.stderr.splitlines()
    assert "kafka/a-1.jar: its SHA-256 is" in changed
    assert "kafka/b-2.jar: nobody has a hash of it" in unknown
    assert "kafka/b-1.jar: it is missing" in missing
    assert "make lock-jars" in what_to_do


def test_a_folder_that_nobody_keeps_hashes_of_is_no_match(given: list[str], tmp_path: Path) -> None:
    (tmp_path / "target" / "s3").mkdir()
    (tmp_path / "target" / "s3" / "c-1.jar").write_text("c")
    assert jars("s3", *given).returncode == 1
    assert jars("--write", "s3", *given).returncode == 0
    assert jars(*given).returncode == 0, "both folders are kept now"


def test_a_line_of_hashes_that_is_none_is_told(given: list[str], tmp_path: Path) -> None:
    (tmp_path / "jars.sha256").write_text("nonsense\n")
    done = jars("kafka", *given)
    assert done.returncode == 1
    assert "jars.sha256, line 1" in done.stderr and "Traceback" not in done.stderr
