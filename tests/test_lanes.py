"""The lanes of `make test`: none hides a failure or a crash, and a test that wants to be alone is.

Each runs pytest on a folder of small tests with the options of the Makefile.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stack.processes import living
from stack.state import load_state

ROOT = Path(__file__).parent.parent
CONFTEST = """
import pytest
from tests.conftest import pytest_configure, pytest_terminal_summary

@pytest.fixture
def stack():
    pass
"""


def options() -> list[str]:
    """What `make test` gives to pytest, as its recipe has it."""
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^test:.*\n\t\$\(BIN\)/python -m pytest \$\(LANES\)$", makefile, re.MULTILINE)
    (found,) = re.findall(r"^LANES = (.+)$", makefile, re.MULTILINE)
    return found.split()


def run(folder: Path, **modules: str) -> subprocess.CompletedProcess[str]:
    """Run these modules in lanes."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    alone\n    own_stack\n")
    (folder / "conftest.py").write_text(CONFTEST)
    for name, text in modules.items():
        (folder / f"test_{name}.py").write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DARKROOM_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options(), "."],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_failure_in_either_lane_is_told_and_fails_the_run_and_one_table_shows_both(tmp_path: Path) -> None:
    test = "def test_good({0}): pass\ndef test_bad({0}): assert False\n"
    done = run(tmp_path, stack=test.format("stack"), no_stack=test.format(""))
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "2 failed, 2 passed" in done.stdout
    assert {"FAILED test_stack.py::test_bad", "FAILED test_no_stack.py::test_bad"} <= {
        line.split(" - ")[0] for line in done.stdout.splitlines()
    }
    assert done.stdout.count("seconds by module") == 1
    assert {"test_stack.py", "test_no_stack.py"} <= set(done.stdout.split())
    assert re.search(r"in all: .* in the stack's lane", done.stdout)
    assert re.search(r"in all: .* in the other lane", done.stdout)


@pytest.mark.stack
def test_a_worker_that_is_killed_fails_the_run_and_its_stack_is_taken_down(tmp_path: Path) -> None:
    """As when memory runs out: the worker cannot end what it started."""
    notes = tmp_path / "notes"
    notes.mkdir()
    dying = f"""
import os, shutil, signal
from pathlib import Path
from tests.lanes import area_of
from tests.live_stack import bring_up

def test_dies(stack, request):
    home = area_of(request.config) / "home"
    home.parent.chmod(0o711)
    bring_up(home, "--only", "postgres")
    shutil.copytree(home / "state", Path({str(notes)!r}) / "state")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run(tmp_path, dying=dying, other="def test_good(): pass\n")
    assert done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), done.stdout + done.stderr
    assert "FAILED test_dying.py::test_dies" in done.stdout
    assert re.search("worker '?gw. crashed", done.stdout), done.stdout
    state = load_state(notes)
    assert state.processes and living(state) == {}
    assert not state.home.parent.exists()


def test_both_lanes_run_at_once_and_a_test_that_is_alone_has_nobody_beside_it(tmp_path: Path) -> None:
    """Each writes down when it began and ended. The two that meet could not, were there one lane."""
    shared = f"""
import time
from pathlib import Path
import pytest

NOTES = Path({str(tmp_path / "notes")!r})

def meet(own, other):
    (NOTES / own).touch()
    deadline = time.monotonic() + 30
    while not (NOTES / other).exists():
        assert time.monotonic() < deadline, "the other lane does not run"
        time.sleep(0.01)

@pytest.fixture(autouse=True)
def noted(request):
    began = time.monotonic()
    yield
    with open(NOTES / "spans", "a") as file:
        file.write(f"{{request.node.name}} {{began}} {{time.monotonic()}}\\n")
"""
    (tmp_path / "notes").mkdir()
    first = f"{shared}\n@pytest.mark.alone\ndef test_alone(): time.sleep(0.3)\ndef test_meets(stack): meet('a', 'b')\n"
    other = f"{shared}\ndef test_meets_too(): meet('b', 'a')\n"
    other += "@pytest.mark.parametrize('n', range(20))\ndef test_beside(n): time.sleep(0.1)\n"
    done = run(tmp_path, first=first, other=other)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    spans = {}
    for line in (tmp_path / "notes" / "spans").read_text().splitlines():
        name, began, ended = line.split()
        spans[name] = (float(began), float(ended))
    began, ended = spans.pop("test_alone")
    assert len(spans) == 22
    assert [name for name, span in spans.items() if span[0] < ended and began < span[1]] == []
    assert any(span[0] > ended for span in spans.values()), "the others had ended already: nothing was proven"


def test_a_stack_of_its_own_is_started_while_the_stacks_lane_is_busy_and_not_at_the_end(tmp_path: Path) -> None:
    """Bug prevented: two such modules met at the end beside the shared stack, and none of the three came up in time."""
    busy = "import time\ndef test_busy(stack): time.sleep(2)\n"
    noted = (
        f"from pathlib import Path\ndef test_noted(): open({str(tmp_path / 'order')!r}, 'a').write(__name__ + ' ')\n"
    )
    own = noted.replace("def test", "import pytest\n@pytest.mark.own_stack\ndef test")
    done = run(tmp_path, b=busy, c=noted, d=noted, e=own)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert (tmp_path / "order").read_text().split()[0] == "test_e"
