"""`darkroom keys` on the running stack. Days long past are taken, for others test beside."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime

import httpx
import pytest

from tests.live_stack import LiveStack
from tests.services.live import picture

pytestmark = pytest.mark.stack
DAY = "2001-02-03"


def audited(stack: LiveStack) -> list[dict[str, str]]:
    log = stack.home / "logs" / "audit.log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []


def test_destroying_is_a_dry_run_until_the_day_is_named_again_with_a_reason(stack: LiveStack) -> None:
    before = len(audited(stack))
    said = stack.run("keys", "destroy", DAY).stdout
    assert "it has no key yet" in said and f"--yes-destroy {DAY} --why TEXT" in said
    for wrong, told in (
        (("--yes-destroy", "2001-02-04", "--why", "x"), f"say --yes-destroy {DAY}"),
        (("--yes-destroy", DAY), "--yes-destroy needs --why TEXT"),
    ):
        refused = stack.run("keys", "destroy", DAY, *wrong, check=False)
        assert refused.returncode == 2 and told in " ".join(refused.stderr.replace("│", " ").split())
    assert len(audited(stack)) == before
    done = stack.run("keys", "destroy", DAY, "--yes-destroy", DAY, "--why", "a trial", "--who", "olga").stdout
    assert "Destroyed" in done
    last = audited(stack)[-1]
    assert (last["event"], last["day"], last["who"], last["why"]) == ("keys destroy", DAY, "olga", "a trial")
    assert "Destroyed already" in stack.run("keys", "destroy", DAY).stdout
    assert "by olga" in next(line for line in stack.run("keys", "status").stdout.splitlines() if DAY in line)


def test_destroying_all_is_a_dry_run_until_it_is_said_again(stack: LiveStack) -> None:
    said = stack.run("keys", "destroy-all").stdout
    assert "--yes-destroy ALL --why TEXT" in said and "in 7 days" in said
    assert ": enabled" in stack.run("keys", "status").stdout


def test_a_day_is_held_and_released(stack: LiveStack) -> None:
    assert "is held" in stack.run("keys", "hold", DAY, "--why", "case 12", "--who", "olga").stdout
    try:
        assert "the first hold stands" in stack.run("keys", "hold", DAY, "--why", "case 13").stdout
        said = stack.run("keys", "release", DAY).stdout
        assert "by olga: case 12" in said and "To do it: --yes --why TEXT" in said
    finally:
        assert "Released" in stack.run("keys", "release", DAY, "--yes", "--why", "closed").stdout
    assert "is not held" in stack.run("keys", "release", DAY).stdout


def test_an_uploader_is_held_and_released_and_nobody_is_named_for_long(stack: LiveStack) -> None:
    name = f"held-{secrets.token_hex(4)}"
    headers = {"Authorization": f"Bearer {stack.token(name)}"}
    with httpx.Client(base_url=stack.url, verify=stack.ca, timeout=30, trust_env=False, headers=headers) as client:
        client.post("/v1/images", content=picture()).raise_for_status()
    today = str(datetime.now(UTC).date())
    assert "hold again for that" in stack.run("keys", "hold", "--uploader", name, "--why", "case 14").stdout
    try:
        held = [line for line in stack.run("keys", "status").stdout.splitlines() if line.strip().startswith(today)]
        assert "some uploaders held by" in held[0]
        refused = stack.run("erase", "--uploader", name, "--yes", "--why", "asked", check=False)
        assert refused.returncode == 1 and "is held since" in refused.stderr
        said = stack.run("keys", "release", "--uploader", name).stdout
        assert f"{today} is held since" in said and "case 14" in said and "To do it: --yes --why TEXT" in said
    finally:
        assert "Released" in stack.run("keys", "release", "--uploader", name, "--yes", "--why", "closed").stdout
    assert "is not held" in stack.run("keys", "release", "--uploader", name).stdout
    assert name not in (stack.home / "logs" / "audit.log").read_text()
    unknown = stack.run("keys", "hold", "--uploader", "nobody-of-that-name", "--why", "x", check=False)
    assert unknown.returncode == 1 and "nothing is held" in unknown.stdout
    for wrong in ((), (DAY, "--uploader", name)):
        refused = stack.run("keys", "hold", *wrong, "--why", "x", check=False)
        assert refused.returncode == 2 and "a day, or --uploader NAME" in " ".join(refused.stderr.split())


def test_a_rotation_touches_no_image_and_doors_go_on(stack: LiveStack) -> None:
    before = stack.run("keys", "status").stdout.splitlines()[0]
    said = stack.run("keys", "rotate", "--why", "a trial").stdout
    assert "keys. Nothing hangs on a former key any more." in said
    after = stack.run("keys", "status").stdout.splitlines()[0]
    assert after != before and after.endswith(": enabled")
    today = datetime.now(UTC).date()
    assert str(today) not in said, "it names no key"


def test_no_day_is_said(stack: LiveStack) -> None:
    refused = stack.run("keys", "destroy", "tomorrow", check=False)
    assert refused.returncode == 2
    assert "'tomorrow' is no day; one is written 2026-03-14." in " ".join(refused.stderr.replace("│", " ").split())
