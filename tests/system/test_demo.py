"""`darkroom demo` twice on the running stack: its table against the tables read back, its hostile kinds one by one.

The numbers are read back with Polars from the folders that `status --json` names, not with the code that printed them.
"""

from __future__ import annotations

import json
import re
import sqlite3
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx
import polars as pl
import pytest

from cli.dataset import digits, photographs
from cli.hostile import PROCESSED, hostile_kinds
from cli.settle import wait_until_settled
from tests.live_stack import LiveStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Printed:
    """What a demo printed: its table as {row: (now, in all)}, and all of its text."""

    table: dict[str, tuple[int, int | None]]
    text: str


def printed(done: subprocess.CompletedProcess[str]) -> Printed:
    rows = {}
    for line in done.stdout.splitlines():
        found = re.match(r"^\s*([a-z_][a-zA-Z_: ]*?)\s{2,}([\d,]+)(?:\s+([\d,]+))?(?:\s|$)", line)
        if found:
            name, now, ever = found.groups()
            rows[name] = (int(now.replace(",", "")), None if ever is None else int(ever.replace(",", "")))
    return Printed(rows, done.stdout)


def table(stack: LiveStack, name: str) -> pl.DataFrame:
    """All rows of a table, without the large columns."""
    uri = stack.status()["lake"]["tables"][f"images/{name}"]
    large = {"payload", "thumbnail", "headers"}
    frame = pl.scan_delta(uri)
    return frame.select(pl.exclude(large)).collect()


def reasons(stack: LiveStack) -> dict[str, int]:
    counted = table(stack, "quarantined_images").group_by("reason").len()
    return dict(counted.iter_rows())


@dataclass(frozen=True)
class Twice:
    """Two demos, how many rows the tables had before the first, and what each door took meanwhile, by its name."""

    first: Printed
    second: Printed
    landed_before: int
    taken: dict[str, int]


def taken(stack: LiveStack) -> dict[str, int]:
    """Images that each door's process has taken since it was started, as Prometheus reads them."""
    trusted = stack.as_gateway()
    counted = {}
    for name, service in stack.status()["services"].items():
        if not name.startswith(("uploads", "streams")):
            continue
        text = httpx.get(f"{service['url']}/metrics", verify=trusted, timeout=30).text
        found = re.search(r'^darkroom_\w+_images_total\{outcome="accepted"\} (\S+)$', text, re.MULTILINE)
        counted[name] = int(float(found[1])) if found else 0
    return counted


@pytest.fixture(scope="module")
def twice(stack: LiveStack) -> Twice:
    lake = Path(stack.status()["lake"]["root"])
    # What other tests sent may still be on its way, and would count as the demo's.
    wait_until_settled(stack.settings(), stack.dagster(), 300)
    before = table(stack, "raw_images").height if (lake / "images" / "raw_images" / "_delta_log").is_dir() else 0
    doors = taken(stack)
    first = printed(stack.run("demo", timeout=1200))
    second = printed(stack.run("demo", timeout=600))
    return Twice(first, second, before, {name: count - doors[name] for name, count in taken(stack).items()})


def test_the_first_demo_sends_every_image_and_every_hostile_kind(stack, twice):
    rows = twice.first.table
    good = len(digits()) + len(photographs())
    kinds = hostile_kinds()
    acknowledged, straight = rows["sent: acknowledged by the doors"][0], rows["sent: written straight to Kafka"][0]
    refused = rows["refused by the doors"][0]
    assert good == 1799
    assert acknowledged + straight == good + len(kinds)
    assert straight == refused + sum(kind.straight for kind in kinds)
    assert rows["landed"][0] >= acknowledged + straight


def test_both_doors_took_their_share_and_together_what_was_acknowledged(twice):
    """Bug prevented: a gateway that knows one instance only, so that the second is never tried."""
    assert set(twice.taken) == {"uploads-1", "uploads-2", "streams-1", "streams-2"}
    assert sum(twice.taken.values()) >= twice.first.table["sent: acknowledged by the doors"][0]
    by_stream = twice.taken["streams-1"] + twice.taken["streams-2"]
    assert by_stream >= twice.first.table["sent: of these by stream"][0] == len(digits())
    assert twice.taken["uploads-1"] > 0 and twice.taken["uploads-2"] > 0, twice.taken


def test_the_table_says_what_the_tables_hold(stack, twice):
    rows = twice.second.table
    bronze, processed = table(stack, "raw_images"), table(stack, "processed_images")
    by_reason = reasons(stack)
    assert rows["landed"][1] == bronze.height
    assert rows["processed"][1] == processed.height == processed["id"].n_unique()
    assert rows["quarantined"][1] == sum(by_reason.values())
    assert {name: ever for name, (_, ever) in rows.items() if name in by_reason} == by_reason
    erased = rows["erased on request"][1] if "erased on request" in rows else 0
    assert bronze.height == processed.height + sum(by_reason.values()) + (rows["resends"][1] or 0) + erased
    assert bronze.select("topic_id", "partition", "offset").n_unique() == bronze.height


def test_what_the_first_demo_printed_is_what_came_into_the_tables(stack, twice):
    rows = twice.first.table
    assert rows["landed"][0] == table(stack, "raw_images").height - twice.landed_before
    assert rows["landed"][0] == rows["processed"][0] + rows["quarantined"][0] + rows["resends"][0]
    assert rows["processed"][0] >= 1799


def test_the_second_demo_has_nothing_new(twice):
    assert re.search(r"^0 new$", twice.second.text, re.MULTILINE)
    rows = twice.second.table
    assert rows["sent: acknowledged by the doors"][0] == 0
    assert rows["sent: written straight to Kafka"][0] == 0
    assert (rows["landed"][0], rows["processed"][0], rows["quarantined"][0]) == (0, 0, 0)
    assert rows["not sent: acknowledged before"][0] >= 1799


def test_every_acknowledged_image_is_developed_once_and_every_hostile_kind_ends_as_it_should(stack, twice):
    places = {"topic_id", "partition", "offset"}
    newest = table(stack, "raw_images").sort("landed_at")["topic_id"][-1]
    processed = table(stack, "processed_images").filter(pl.col("topic_id") == newest).select("id", *places)
    refused = table(stack, "quarantined_images").filter(pl.col("topic_id") == newest).select("reason", *places)
    developed = {(partition, offset) for partition, offset in processed.select("partition", "offset").iter_rows()}
    quarantined = {(p, o): reason for p, o, reason in refused.select("partition", "offset", "reason").iter_rows()}
    with sqlite3.connect(stack.home / "state" / "sent.sqlite") as base:
        straight = {kind: (p, o) for kind, p, o in base.execute('SELECT kind, partition, "offset" FROM straight')}
        sent = {
            digest: (id, (p, o))
            for digest, id, p, o in base.execute(
                'SELECT sha256, id, partition, "offset" FROM sent WHERE uploader = ? AND id NOT NULL', ("demo",)
            )
        }
    ids = set(processed["id"])
    for item in [*digits(), *photographs()]:
        assert sent[sha256(item.image).hexdigest()][0] in ids, f"{item.name} was acknowledged and not developed"
    wrong = []
    for kind in hostile_kinds():
        place = straight.get(kind.name) or sent[sha256(kind.body or b"").hexdigest()][1]
        ended = PROCESSED if place in developed else quarantined.get(place, "in no table")
        if ended not in kind.expected:
            wrong.append(f"{kind.name}: {ended}, and not {' or '.join(sorted(kind.expected))}")
    assert not wrong, "\n".join(wrong)


def test_the_printed_addresses_answer(stack, twice):
    trusted = ssl.create_default_context(cafile=stack.ca)
    urls = set(re.findall(r"https://127\.0\.0\.1:\d+/(?:docs|dagster|mlflow)(?=\s)", twice.second.text))
    assert {url.rsplit("/", 1)[1] for url in urls} == {"docs", "dagster", "mlflow"}
    passwords = json.loads((stack.home / "secrets" / "demo-people.json").read_text())
    with httpx.Client(verify=trusted, follow_redirects=True, timeout=30) as person:
        form = {"name": "ada", "password": passwords["ada"]}
        assert "You are <strong>ada</strong>" in person.post(f"{stack.url}/signin", data=form).text
        for url in urls:
            assert person.get(url, headers={"Accept": "text/html"}).status_code == 200, url
    image = re.search(r"(https://127\.0\.0\.1:\d+/v1/images/[a-z2-7]{26})", twice.second.text)
    assert image is not None
    answer = httpx.get(image[1], verify=trusted, headers={"Authorization": f"Bearer {stack.token('demo')}"}, timeout=30)
    assert (answer.status_code, answer.json()["state"]) == (200, "processed")


@pytest.fixture
def short():
    """A folder whose name leaves room in a table: pytest's own is so long that paths are folded."""
    with tempfile.TemporaryDirectory(prefix="sent") as folder:
        yield Path(folder)


def test_a_folder_of_good_and_bad_files_is_sent_and_each_refusal_is_explained(stack, short):
    folder = short / "mine"
    (folder / "cats").mkdir(parents=True)
    photograph = photographs()[0].image
    # Bytes behind the end of a JPEG are nobody's: the same picture, another content.
    (folder / "cats" / "one.jpg").write_bytes(photograph + b"one")
    (folder / "cats" / "same.jpg").write_bytes(photograph + b"one")
    (folder / "invoice.jpg").write_bytes(b"%PDF-1.4 no picture")
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(11 * 1024 * 1024))
    (folder / "gone.png").symlink_to(folder / "nowhere")
    done = stack.run("send", str(folder), "--label-from-folder", check=False)
    assert done.returncode == 1, done.stderr
    assert "1 new, 0 acknowledged before, 1 same content, 2 refused, 1 unreadable" in done.stdout
    assert re.search(r"invoice\.jpg\s+415\s+The bytes are a PDF document and no image", done.stdout)
    assert re.search(r"huge\.png\s+413\s", done.stdout)
    assert re.search(r"gone\.png\s+unread\s+No such file", done.stdout)
    again = stack.run("send", str(folder / "cats"))
    assert "0 new, 1 acknowledged before, 1 same content" in again.stdout


def test_sending_without_a_stack_or_without_a_file_is_one_sentence(stack, tmp_path):
    from tests.live_stack import run_darkroom

    none = run_darkroom(tmp_path, "send", "--sample")
    assert none.returncode == 1 and "no stack" in none.stderr and "darkroom" in none.stderr
    wrong = stack.run("send", str(tmp_path / "nowhere"), check=False)
    assert wrong.returncode == 1 and "no such file or folder" in wrong.stderr
    assert "Traceback" not in none.stderr + wrong.stderr


def test_replay_of_what_is_hostile_replays_nothing_and_an_unknown_reason_lists_the_valid_ones(stack, twice):
    before = reasons(stack)
    done = stack.run("replay-quarantine", "--reason", "not_an_image", timeout=300)
    assert done.stdout.startswith(f"0 of {before['not_an_image']} quarantined records are images now")
    assert reasons(stack) == before
    wrong = stack.run("replay-quarantine", "--reason", "ugly", check=False)
    assert wrong.returncode == 2 and "not_an_image" in wrong.stderr


def test_accept_loss_without_a_loss_changes_nothing(stack, twice):
    done = stack.run("accept-loss")
    assert "No loss" in done.stdout
    assert stack.run("accept-loss", "--yes", check=False).returncode == 2
