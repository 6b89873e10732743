"""The command itself: fast help, plain errors, and what it says when something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live_stack import LiveStack, run_darkroom

COMMANDS = (
    *("up", "down", "status", "logs", "doctor", "wipe", "token", "send", "demo", "settings"),
    *("replay-quarantine", "accept-loss"),
)
HEAVY = {"dagster", "confluent_kafka", "psycopg", "polars", "deltalake", "pyarrow", "httpx", "sklearn", "PIL"}


def test_help_lists_the_commands_without_importing_anything_heavy():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from cli.main import app\n"
        "print(CliRunner().invoke(app, ['--help']).output)\n"
        f"sys.exit(', '.join(sorted({HEAVY} & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"imported for help: {done.stderr}"
    assert all(f" {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["token"], ["logs", "kafka"]])
def test_where_there_is_no_stack_a_command_says_how_to_start_one(tmp_path: Path, command: list[str]):
    done = run_darkroom(tmp_path / "nowhere", *command)
    assert done.returncode == 1
    assert f"There is no stack in {tmp_path / 'nowhere'}" in done.stderr
    assert "up`" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["down", "wipe"])
def test_stopping_and_wiping_nothing_is_harmless(tmp_path: Path, command: str):
    done = run_darkroom(tmp_path / "nowhere", command)
    assert done.returncode == 0
    assert "There is no stack" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_doctor_says_in_a_sentence_what_is_missing_and_how_to_get_it(tmp_path: Path):
    done = run_darkroom(tmp_path, "doctor", PATH="/nonexistent", JAVA_HOME="", DARKROOM_JARS=str(tmp_path))
    assert done.returncode == 1
    assert "Java is missing: install 17 or newer (Debian: apt install openjdk-17-jre-headless)" in done.stdout
    assert "Maven (mvn) is missing: install it (Debian: apt install maven)" in done.stdout
    assert f"Kafka's jars are not in {tmp_path}: run `make jars`" in done.stdout


def test_up_stops_with_the_doctors_sentence_and_makes_nothing(tmp_path: Path):
    home = tmp_path / "home"
    done = run_darkroom(home, "up", PATH="/nonexistent", JAVA_HOME="")
    assert done.returncode == 1
    assert "Java is missing" in done.stderr
    assert "Maven" not in done.stderr, "the jars are there, so Maven is not needed to start"
    assert not home.exists()


def test_doctor_names_a_java_that_is_too_old(tmp_path: Path):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    done = run_darkroom(tmp_path / "home", "doctor", PATH=f"{tmp_path}:{os.environ['PATH']}", JAVA_HOME="")
    assert done.returncode == 1
    assert f"Java 11 at {java} is too old" in done.stdout


def test_a_setting_that_does_not_exist_is_refused_by_name(tmp_path: Path):
    (tmp_path / "darkroom.toml").write_text("retention_dayz = 3\n")
    done = run_darkroom(tmp_path, "up")
    assert done.returncode == 1
    assert "retention_dayz is no setting of Darkroom" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.stack
def test_logs_shows_the_last_lines_and_names_the_valid_ones(stack: LiveStack):
    shown = stack.run("logs", "kafka", "-n", "3").stdout
    assert len(shown.splitlines()) == 3
    refused = stack.run("logs", "zookeeper", check=False)
    assert refused.returncode == 1
    valid = refused.stderr.split("Valid names: ")[1].replace(".", ",").split(", ")
    # Beside the services': what people did, and which keys were opened.
    assert {"access", "code-server", "daemon", "directory", "gateway", "kafka"} <= set(valid)


@pytest.mark.stack
def test_a_token_in_a_reserved_name_is_refused(stack: LiveStack):
    refused = stack.run("token", "--subject", "admin", check=False)
    assert refused.returncode == 1
    assert "admin" in refused.stderr
    assert refused.stdout == ""


@pytest.mark.stack
def test_status_is_a_table_for_a_person(stack: LiveStack):
    shown = stack.run("status").stdout
    assert "running" in shown
    assert all(name in shown for name in ("postgres", "kafka", "code-server", "daemon", "webserver", "uploads-2"))
