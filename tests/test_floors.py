"""A room imports only lower floors: the contracts of pyproject.toml, run by import-linter."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("transforms", "access", "resources", "platform_assets", "sensors", "services", "stack", "cli")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    return subprocess.run(
        [*command, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": str(folder)},
    )


def test_every_room_keeps_to_its_floor():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the rooms, to break."""
    copy = tmp_path_factory.mktemp("house")
    for room in ROOMS:
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("transforms", "import resources.settings"),
        ("transforms", "import dagster"),
        ("access", "import transforms.tables"),
        ("resources", "import platform_assets.schema"),
        ("sensors", "import platform_assets.jobs"),
        ("services", "import sensors.decision"),
        ("stack", "import cli.main"),
        ("sensors", "import platform_assets.definitions"),
    ],
)
def test_a_step_upwards_or_sideways_is_found(house: Path, where: str, what: str):
    intruder = house / where / "intruder.py"
    intruder.write_text(what + "\n")
    try:
        done = lint(house)
    finally:
        intruder.unlink()
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{where}.intruder" in done.stdout
