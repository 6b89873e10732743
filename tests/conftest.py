"""What every test may use: one running stack a session, shared, in a home of its own; and where a run's time went.

`DARKROOM_TEST_HOME` names the home of a stack that runs already; it is used as it is and left running. That is for a
person who develops; a clean run has it unset.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks._s3 import S3Server, s3_running
from tests.lanes import STACK_LANE, area_of, join_lanes, lanes_of
from tests.live_stack import LiveStack, bring_up, tear_down


def pytest_configure(config: pytest.Config) -> None:
    join_lanes(config)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[LiveStack]:
    """The running stack. A test that stops or kills a part of it leaves it healthy again."""
    running = os.environ.get("DARKROOM_TEST_HOME")
    if running:
        yield LiveStack(Path(running).absolute())
        return
    # Not pytest's tmp_path: that is too long for sockets and closed to PostgreSQL's account.
    area = area_of(request.config) or Path(tempfile.mkdtemp(prefix="darkroom-test-"))
    area.chmod(0o711)
    home = area / "home"
    try:
        yield bring_up(home)
    finally:
        tear_down(home)
        shutil.rmtree(area, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_authority_left() -> Iterator[None]:
    """A lake on S3 names its authority to the whole process; the next test may have another, or none."""
    before = os.environ.get("SSL_CERT_FILE")
    yield
    os.environ.pop("SSL_CERT_FILE", None)
    if before is not None:
        os.environ["SSL_CERT_FILE"] = before


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server, shared; a test that stops it starts it again."""
    with s3_running(tmp_path_factory.mktemp("s3")) as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print where the time went, by module: the budget of a run is a figure that everybody sees."""
    spent: Counter[str] = Counter()
    by_lane: Counter[str] = Counter()
    lanes = lanes_of(terminalreporter.config)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                spent[report.nodeid.split("::")[0]] += report.duration
                by_lane["the stack's" if lanes.get(report.nodeid) == STACK_LANE else "the other"] += report.duration
    if not spent:
        return
    terminalreporter.section("seconds by module")
    for module, seconds in spent.most_common(20):
        terminalreporter.line(f"{seconds:8.1f}  {module}")
    told = "; ".join(f"{seconds:.1f} in {name} lane" for name, seconds in by_lane.most_common())
    terminalreporter.line(f"{sum(spent.values()):8.1f}  in all" + (f": {told}" if lanes else ""))
