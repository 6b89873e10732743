"""The wheel in a clean environment: what runs in production is what was packed, not what lay in the working folder.

Names like `resources` are common: beside the checkout, or in an editable install, they would be found by luck. So the
wheel is put into a fresh environment that sees the dependencies and not this checkout, and is used from an empty
folder.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"transforms", "access", "resources", "platform_assets", "sensors", "services", "stack", "cli"}


def tracked() -> set[str]:
    """Files of the rooms that git knows, those that were deleted and not yet committed aside."""
    done = subprocess.run(
        ["git", "ls-files", "--", *sorted(ROOMS)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return {line for line in done.stdout.splitlines() if (ROOT / line).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a release would have it: built by hatchling from a copy of what git knows."""
    source = tmp_path_factory.mktemp("source")
    for name in [*tracked(), "pyproject.toml", "README.md", "LICENSE"]:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's interpreter, with the wheel and a view of the dependencies."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False, symlinks=True)
    interpreter = folder / "bin" / "python"
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(interpreter),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    # A path in a .pth file is added as it is: the .pth files in it, an editable install's among them, are not read.
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def run(python: Path, folder: Path, script: str, *arguments: str) -> str:
    """What a script prints, run by the fresh environment in an empty folder, with no settings and no PYTHONPATH."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DARKROOM_", "PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [python, "-W", "ignore", "-c", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


def test_the_wheel_holds_every_file_of_the_rooms_and_no_other_room(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == tracked()
    assert {name.split("/")[0] for name in packed} == ROOMS


def test_package_data_is_in_the_wheel(wheel: Path):
    """Named one by one: what git does not know the test above does not miss."""
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert "access/policy.yaml" in packed
    assert "resources/migrations/env.py" in packed
    assert any(name.startswith("resources/migrations/images/") and name.endswith(".py") for name in packed)


def test_the_definitions_load_from_the_wheel_in_a_clean_environment(python: Path, tmp_path: Path):
    script = """
import json, sys
from platform_assets.definitions import defs
rooms = sys.argv[1].split(",")
ours = {name: module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in rooms}
assets = sorted(spec.key.to_user_string() for spec in defs.resolve_all_asset_specs())
print(json.dumps({"assets": assets, "ours": ours}))
"""
    said = json.loads(run(python, tmp_path, script, ",".join(ROOMS)))
    assert "images/raw_images" in said["assets"]
    clean = str(python.parent.parent)
    assert said["ours"]
    assert {name: file for name, file in said["ours"].items() if not file.startswith(clean)} == {}


def test_every_module_of_the_wheel_can_be_imported_in_a_clean_environment(python: Path, wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        modules = sorted(
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in archive.namelist()
            if name.endswith(".py") and "/migrations/" not in name and not name.endswith("__main__.py")
        )
    script = "import importlib, sys\nfor name in sys.argv[1].split(','): importlib.import_module(name)\nprint('all')"
    assert run(python, tmp_path, script, ",".join(modules)).strip() == "all"


def test_the_command_of_the_wheel_answers(python: Path, tmp_path: Path):
    done = subprocess.run(
        [python.with_name("darkroom"), "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
