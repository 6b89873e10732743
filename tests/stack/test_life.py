"""A stack's life: killed, moved, copied, in an awkward place, with its port taken; each with a stack of its own.

Most need PostgreSQL only, which starts in two seconds.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from cli.dagster_api import UNFINISHED, DagsterApi
from cli.settle import wait_until_settled
from resources.kafka import watermarks
from stack.paths import Layout
from stack.postgres_place import area_of, can_pass
from stack.processes import living
from stack.state import StackState, load_state
from tests.live_stack import LiveStack, bring_up, run_darkroom, tear_down
from tests.system.history import Acknowledged, png, violations

pytestmark = [pytest.mark.own_stack, pytest.mark.slow]
AS_ROOT = os.getuid() == 0


@pytest.fixture
def area() -> Iterator[Path]:
    """A folder that PostgreSQL's account can enter; every stack in it is torn down."""
    folder = Path(tempfile.mkdtemp(prefix="darkroom-life-"))
    folder.chmod(0o711)
    yield folder
    for memory in list(folder.rglob("state/stack.json")):
        tear_down(memory.parents[1])
    shutil.rmtree(folder)


def processes_of(state: StackState) -> list[psutil.Process]:
    return [process for found in living(state).values() for process in found]


def select_one(home: Path) -> None:
    from stack.state import stack_settings

    with psycopg.connect(stack_settings(home, "operator").postgres_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM images.image_status").fetchone() is not None


def note(home: Path, text: str) -> None:
    from stack.state import stack_settings

    statement = "INSERT INTO images.image_status (id, day, pseudonym, state) VALUES (%s, '2026-01-01', 'p', 'accepted')"
    with psycopg.connect(stack_settings(home, "uploads").postgres_dsn) as connection:
        connection.execute(statement, [text])


def noted(home: Path) -> list[str]:
    from stack.state import stack_settings

    with psycopg.connect(stack_settings(home, "operator").postgres_dsn) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM images.image_status ORDER BY id")]


def upload(stack: LiveStack, seeds: range) -> list[Acknowledged]:
    """New images to both doors in turn; each is acknowledged."""
    headers = {"Authorization": f"Bearer {stack.token()}"}
    told = []
    with httpx.Client(verify=ssl.create_default_context(cafile=stack.ca), headers=headers, timeout=40) as client:
        for seed in seeds:
            answer = client.post(f"{stack.url}/v1/images", content=png(seed))
            assert answer.status_code == 201, answer.text
            told.append(Acknowledged(*(answer.json()[name] for name in ("id", "partition", "offset"))))
    return told


def launch_and_wait_until_started(dagster: DagsterApi) -> str:
    """A run of the live lane whose process has begun; returns its id."""
    run_id = dagster.launch("live_images", {})
    deadline = time.monotonic() + 60
    while (status := dagster.run(run_id).status) != "STARTED":
        assert status in UNFINISHED and time.monotonic() < deadline, status
        time.sleep(0.02)
    return run_id


def kill_all(state: StackState) -> None:
    """kill -9 of every process of the stack, the supervisor first: it would start the others again."""
    supervisor = {one.pid for one in state.processes if one.name == "supervisor"}
    doomed = sorted(processes_of(state), key=lambda one: one.pid not in supervisor)
    assert doomed[0].pid in supervisor
    for process in doomed:
        with suppress(psutil.NoSuchProcess):  # a session of PostgreSQL comes and goes by itself
            process.kill()
    psutil.wait_procs(doomed, timeout=10)
    assert processes_of(state) == []


@pytest.mark.alone
def test_up_after_every_process_was_killed_goes_on_with_the_data_and_the_ports(area: Path):
    """While images wait and a run is at work: none is lost or doubled, and no run stands as if it went on."""
    home = area / "home"
    running = bring_up(home)
    note(home, "before")
    before = load_state(home)
    dagster = running.dagster()
    try:
        acknowledged = upload(running, range(12))
        run_id = launch_and_wait_until_started(dagster)
        kill_all(before)

        again = bring_up(home)
        again.wait_healthy()
        assert "before" in noted(home)
        assert load_state(home).ports == before.ports
        settings = again.settings()
        wait_until_settled(settings, again.dagster(), 90)
        topic_id = watermarks(settings, settings.topic).topic_id
        assert list(violations(settings.lake_root, acknowledged, topic_id)) == []
        assert dagster.unfinished() == []
        killed = dagster.run(run_id)
        assert killed.status == "FAILURE", "had it ended well, the kill came too late"
        assert "The process of this run is gone" in killed.error
    finally:
        dagster.close()


def test_up_after_the_supervisor_was_killed_ends_what_it_left_and_says_so(area: Path):
    home = area / "home"
    bring_up(home, "--only", "postgres")
    before = load_state(home)
    left = [one.pid for one in before.processes if one.name == "postgres"]
    (supervisor,) = [one for one in before.processes if one.name == "supervisor"]
    psutil.Process(supervisor.pid).kill()
    said = run_darkroom(home, "up", "--only", "postgres")
    assert said.returncode == 0, said.stderr
    assert "left processes behind: postgres" in said.stderr
    assert not any(psutil.pid_exists(pid) for pid in left)
    select_one(home)


def test_up_ends_a_hung_session_of_a_killed_postgres_which_keeps_a_new_one_from_starting(area: Path):
    home = area / "home"
    running = bring_up(home, "--only", "postgres")
    note(home, "before")
    server = psutil.Process(running.pid("postgres"))
    hung = server.children()[0]
    hung.suspend()
    server.kill()
    said = run_darkroom(home, "up", "--only", "postgres")
    assert said.returncode == 0, said.stderr
    assert "1 of its sessions hang" in said.stderr
    assert not hung.is_running()
    assert noted(home) == ["before"]


def test_down_stops_everything_also_what_a_dead_supervisor_left_and_a_second_down_says_nothing_ran(area: Path):
    home = area / "home"
    bring_up(home, "--only", "postgres")
    state = load_state(home)
    (supervisor,) = [one for one in state.processes if one.name == "supervisor"]
    psutil.Process(supervisor.pid).kill()
    assert run_darkroom(home, "down").returncode == 0
    assert processes_of(state) == []
    assert "Nothing ran" in run_darkroom(home, "down").stderr


def test_a_port_that_was_taken_meanwhile_is_chosen_anew_and_said(area: Path):
    home = area / "home"
    bring_up(home, "--only", "postgres")
    run_darkroom(home, "down")
    port = load_state(home).ports["postgres"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        doctor = run_darkroom(home, "doctor")
        assert f"Another process has taken {port} (postgres)" in doctor.stdout
        said = run_darkroom(home, "up", "--only", "postgres")
    assert said.returncode == 0, said.stderr
    assert f"Port {port} of postgres is taken by another process" in said.stderr
    assert load_state(home).ports["postgres"] != port
    select_one(home)


def test_a_home_with_an_awkward_and_long_name_works_and_wipe_leaves_nothing(area: Path):
    home = area / f"Fotos & 'Bilder' 100% ä {'lang ' * 15}" / "home"
    bring_up(home, "--only", "postgres", "--only", "kafka")
    state = load_state(home)
    assert state.run.parent != home
    select_one(home)
    told = run_darkroom(home, "wipe")
    assert str(state.run) in told.stderr
    assert home.is_dir(), "a dry run removes nothing"
    assert run_darkroom(home, "wipe", "--yes").returncode == 0
    assert processes_of(state) == []
    assert not home.exists()
    assert not state.run.exists()


def test_wipe_keeps_the_settings_file_and_what_is_not_ours(area: Path):
    home = area / "home"
    home.mkdir(mode=0o711)
    (home / "darkroom.toml").write_text("retention_days = 3\n")
    bring_up(home, "--only", "postgres")
    assert run_darkroom(home, "wipe", "--yes").returncode == 0
    assert [path.name for path in home.iterdir()] == ["darkroom.toml"]


def test_a_home_that_was_moved_says_so_and_keeps_its_data(area: Path):
    old, new = area / "old", area / "new"
    bring_up(old, "--only", "postgres")
    note(old, "moved along")
    old.rename(new)
    said = run_darkroom(new, "up", "--only", "postgres")
    assert said.returncode == 0, said.stderr
    assert f"This home was moved here from {old}" in said.stderr
    assert noted(new) == ["moved along"]
    assert all("/old/" not in " ".join(one.cmdline()) for one in processes_of(load_state(new)))


def test_a_copied_home_becomes_a_stack_of_its_own_and_the_first_one_goes_on(area: Path):
    first, copy = area / "first", area / "copy"
    bring_up(first, "--only", "postgres")
    note(first, "in both")
    run_darkroom(first, "down")
    shutil.copytree(first, copy)
    bring_up(first, "--only", "postgres")
    said = run_darkroom(copy, "up", "--only", "postgres")
    assert said.returncode == 0, said.stderr
    assert f"This home is a copy of {first}" in said.stderr
    assert f"Another Darkroom stack runs on this machine, in {first}" in said.stderr
    note(copy, "in the copy only")
    assert noted(first) == ["in both"]
    assert noted(copy) == ["in both", "in the copy only"]
    assert load_state(first).ports["postgres"] != load_state(copy).ports["postgres"]


@pytest.mark.skipif(
    not AS_ROOT, reason="PostgreSQL runs as another account only when root starts the stack: run as root"
)
def test_where_postgres_account_cannot_enter_a_folder_of_its_own_is_used_and_wipe_removes_it(area: Path):
    closed = area / "closed"
    closed.mkdir(mode=0o700)
    home = closed / "home"
    said = run_darkroom(home, "up", "--only", "postgres")
    assert said.returncode == 0, said.stderr
    place = load_state(home).postgres
    own = area_of(place)
    assert place is not None
    assert own is not None
    assert str(own) in said.stderr.replace("\n", "")
    assert own.stat().st_mode & 0o777 == 0o711
    assert place.folder.stat().st_mode & 0o077 == 0
    note(home, "kept")
    run_darkroom(home, "down")
    bring_up(home, "--only", "postgres")
    assert noted(home) == ["kept"]
    assert run_darkroom(home, "wipe", "--yes").returncode == 0
    assert not own.exists()


@pytest.mark.skipif(
    not AS_ROOT, reason="PostgreSQL runs as another account only when root starts the stack: run as root"
)
def test_a_temporary_area_that_was_cleaned_is_said_and_made_anew(area: Path):
    closed = area / "closed"
    closed.mkdir(mode=0o700)
    home = closed / "home"
    bring_up(home, "--only", "postgres")
    run_darkroom(home, "down")
    own = area_of(load_state(home).postgres)
    assert own is not None
    shutil.rmtree(own)
    said = run_darkroom(home, "up", "--only", "postgres")
    assert said.returncode == 0, said.stderr
    assert "the system has cleaned that away" in said.stderr
    select_one(home)


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another account to start a stack as a user: run as root")
def test_a_user_who_is_not_root_runs_everything_as_that_user(area: Path):
    """Bug prevented: a stack that asks for an account change, or a mode, that only root may make."""
    entry = pwd.getpwnam("nobody")
    home = area / "user" / "home"
    home.parent.mkdir()
    os.chown(home.parent, entry.pw_uid, entry.pw_gid)
    identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    if not can_pass("nobody", Path(os.path.realpath(sys.executable))):
        pytest.skip(f"'nobody' cannot run {os.path.realpath(sys.executable)}: use a Python that every account may run")
    said = run_darkroom(home, "up", "--only", "postgres", "--only", "kafka", identity=identity, HOME=str(home.parent))
    try:
        assert said.returncode == 0, said.stderr
        assert {one.uids().real for one in processes_of(load_state(home))} == {entry.pw_uid}
        assert home.stat().st_mode & 0o777 == 0o700
    finally:
        run_darkroom(home, "down", identity=identity, HOME=str(home.parent))


def test_a_pid_file_whose_pid_is_another_programs_by_now_does_not_stop_postgres(area: Path):
    """Bug prevented: after a reboot PostgreSQL refuses to start, because some other program got its old pid."""
    home = area / "home"
    bring_up(home, "--only", "postgres")
    run_darkroom(home, "down")
    place = load_state(home).postgres
    assert place is not None
    (place.folder / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{place.folder / 'data'}\n1700000000\n")
    bring_up(home, "--only", "postgres")
    select_one(home)


def test_a_service_that_does_not_come_up_is_named_with_the_end_of_its_log(area: Path):
    home = area / "home"
    bring_up(home, "--only", "postgres")
    run_darkroom(home, "down")
    place = load_state(home).postgres
    assert place is not None
    (place.folder / "data" / "global" / "pg_control").unlink()
    said = run_darkroom(home, "up", "--only", "postgres")
    assert said.returncode == 1
    assert "postgres ended 3 times right after its start" in said.stderr
    assert "pg_control" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_changed_settings_file_restarts_the_services_that_read_it(area: Path):
    home = area / "home"
    running = bring_up(home, "--only", "code-server")
    before = (running.pid("code-server"), running.pid("postgres"))
    (home / "darkroom.toml").write_text("retention_days = 3\n")
    bring_up(home, "--only", "code-server")
    after = (running.pid("code-server"), running.pid("postgres"))
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_folders_of_a_home_are_for_their_owner_alone(area: Path):
    home = area / "home"
    bring_up(home, "--only", "postgres")
    layout = Layout(home)
    assert {oct(folder.stat().st_mode & 0o777) for folder in layout.folders} == {"0o700"}
    assert home.stat().st_mode & 0o066 == 0
