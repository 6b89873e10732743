"""The demo's people: one of each group of the policy, who sign in at the gateway and try what they may."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx
    from rich.console import Console

PEOPLE: Mapping[str, str] = {
    "lena": "logistics",
    "anna": "analytics",
    "sam": "sales",
    "uli": "image-uploaders",
    "mia": "ml-engineers",
    "ada": "platform-admins",
}
"""Each person's group."""
ADMINISTRATOR = "ada"
PERMISSIONS = "{ permissions { permission value } }"
PASSWORD_BYTES = 12


@dataclass(frozen=True)
class Tried:
    """What the gateway and what is behind it answered somebody."""

    name: str
    group: str
    sends: bool
    sees: bool
    launches: bool
    changes: bool
    models: bool


def passwords_file(home: Path) -> Path:
    """Where the passwords of the demo's people lie, for the stack's owner alone."""
    return home / "secrets" / "demo-people.json"


def make_people(home: Path) -> dict[str, str]:
    """Have the demo's people in the stack's directory; whoever has their name already and was not made here is let be.

    Returns:
        Passwords by name.

    Raises:
        StackError, PlatformFailure: the directory cannot be asked.
    """
    from cli.context import current_people
    from stack.paths import write_private

    path, people = passwords_file(home), current_people()
    known: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    there = people.everyone()
    for name, group in PEOPLE.items():
        if name in there and name not in known:
            continue
        if name not in there or group not in there[name]:
            known[name] = secrets.token_urlsafe(PASSWORD_BYTES)
            people.put(name, [group], known[name])
    write_private(path, json.dumps(known, indent=2) + "\n")
    return known


def try_all(home: Path, passwords: Mapping[str, str]) -> Iterator[Tried]:
    """Sign each in at the gateway, and ask for a little of everything there.

    Raises:
        PlatformFailure: somebody of the demo cannot sign in, or the gateway does not answer.
    """
    import httpx

    from resources.failures import TransientFailure
    from stack.doors import door_of, trust

    url = door_of(home)
    for name, password in passwords.items():
        with httpx.Client(base_url=url, verify=trust(home), timeout=30, trust_env=False) as client:
            try:
                yield _try(client, name, password)
            except (httpx.HTTPError, KeyError, ValueError) as error:
                raise TransientFailure(
                    f"{name} of the demo could not sign in at {url}: {error or type(error).__name__}. "
                    f"`darkroom status` shows what runs; without {passwords_file(home)} new passwords are made."
                ) from error


def print_people(home: Path, console: Console) -> None:
    """Who may do what, as it was tried just now."""
    from rich.table import Table

    table = Table(box=None)
    for heading in ("person", "group", "sends images", "sees Dagster", "launches runs", "changes it", "sees MLflow"):
        # A narrow window folds the headings, and never a name.
        table.add_column(heading, no_wrap=heading in ("person", "group"))
    for one in try_all(home, make_people(home)):
        marks = ["yes" if may else "-" for may in (one.sends, one.sees, one.launches, one.changes, one.models)]
        table.add_row(one.name, one.group, *marks)
    console.print("People of each group signed in at the gateway, and tried:")
    console.print(table)
    console.print(
        f"Their passwords are in {passwords_file(home)}. What else a group may: darkroom access show",
        soft_wrap=True,
        markup=False,
    )


def _try(client: httpx.Client, name: str, password: str) -> Tried:
    signed = client.post("/v1/session", json={"name": name, "password": password}).raise_for_status().json()
    client.headers["Authorization"] = f"Bearer {signed['token']}"
    # No image at all: whoever may send is told that it is empty, and nothing is kept.
    sent = client.post("/v1/images", content=b"").status_code
    asked = client.post("/dagster/graphql", json={"query": PERMISSIONS})
    may: dict[str, bool] = {}
    if asked.status_code == 200:
        may = {one["permission"]: one["value"] for one in asked.json()["data"]["permissions"]}
    models = client.get("/mlflow/ajax-api/2.0/mlflow/experiments/search", params={"max_results": 1}).status_code
    client.delete("/v1/session", headers={"Authorization": f"Bearer {signed['session']}"}).raise_for_status()
    return Tried(
        name,
        PEOPLE[name],
        sends=sent == 400,
        sees=bool(may),
        launches=may.get("launch_pipeline_execution", False),
        changes=may.get("start_schedule", False),
        models=models == 200,
    )
