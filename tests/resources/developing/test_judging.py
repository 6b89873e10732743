"""Judging a chunk: what only looks like a resend is developed all the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from cli.hostile import sound_png
from resources.judging import judge
from resources.keys import open_key_store
from resources.opening import Opener
from resources.records import Record
from resources.settings import Settings
from transforms.images import Developed, Limits, Rejected, develop

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


class Here:
    """Decodes in this process."""

    def map(self, images: Iterable[bytes | memoryview]) -> Iterator[Developed | Rejected]:
        for image in images:
            yield develop(bytes(image), Limits(10**7, 10**7))


class Suspicious:
    """Thinks every id may have a row; `confirmed` have."""

    def __init__(self, *confirmed: str) -> None:
        self.confirmed = set(confirmed)

    def maybe_processed(self, id: str) -> bool:
        return True

    def confirm_processed(self, ids: Iterable[str], *, sealed: bool = False) -> set[str]:
        return set(ids) & self.confirmed


def records(*ids: str) -> list[Record]:
    return [
        Record(
            "images.raw",
            "A" * 22,
            0,
            offset,
            NOON.date(),
            NOON,
            None,
            [("id", id.encode())],
            memoryview(sound_png(16 + offset, 16)),
        )
        for offset, id in enumerate(ids)
    ]


def test_ids_whose_hashes_collide_with_a_known_one_are_developed_once_the_table_says_they_are_new(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path)
    keys = open_key_store(settings)
    keys.initialise()
    known, new = "a" * 26, "b" * 26
    judged = judge(records(known, new, known), Opener(settings, keys), Here(), Suspicious(known), defaultdict(float))
    assert [one.id for one in judged.good] == [new]
    assert [one.id for one in judged.resent] == [known, known]
    assert not judged.refused


def test_no_verdict_holds_on_to_an_image(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    keys = open_key_store(settings)
    keys.initialise()
    known, new = "a" * 26, "b" * 26
    judged = judge(records(known, new), Opener(settings, keys), Here(), Suspicious(known), defaultdict(float))
    assert (len(judged.resent), len(judged.good)) == (1, 1)
    held = [value for one in judged.good for value in one.row.values()]
    assert not [value for value in held if isinstance(value, memoryview)], "a view keeps the whole batch"
    image = sound_png(17, 16)
    assert not [value for value in held if isinstance(value, bytes) and image in value]
