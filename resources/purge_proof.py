"""The proof of a purge: pieces of what will be purged are looked for on the disks before it, and after it.

Why: that no table and no key has a day any more is what the platform says of itself; that no byte of it lies on a disk
is what is promised. Mechanism: of each sealed column of each day that is due, a few values give their last bytes, which
are the seal's own and could not be guessed. Before the purge each has to be found, or the search is no proof; and as
long as one is found afterwards it is kept and looked for again. PostgreSQL's files have to show a sentence that they
always hold, and a value of a day that lives has to be found: else the search does not see what lies there.

Limits: samples, not every value. The folders of this machine alone (setting `searched`): no bucket, no broker
elsewhere. What came unsealed has no seal, and gives no piece.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.raw_search import below, search
from transforms.envelope import EnvelopeError, clear_of
from transforms.retention import BRONZE, PURGED

if TYPE_CHECKING:
    from resources.key_holds import HeldKey
    from resources.lake import Lake
    from resources.settings import Settings

SAMPLES = 2
"""Values of a day and a column that give a piece."""
PIECE_BYTES = 24
"""Enough that a seal's tag of 16 bytes is among them."""
KAFKA = "kafka"
POSTGRES = "postgres"
CANARY = b"Where an image is; a projection that can be rebuilt from the lake."
"""What PostgreSQL's files hold on every installation: the comment of the projection (its first migration)."""
PATIENCE = timedelta(hours=3)
"""After which Kafka has closed the segment of a purged record, and given it back (segment.ms is an hour)."""


@dataclass(frozen=True)
class Piece:
    """Bytes of a sealed value, and where they lay before the purge.

    Args:
        name: table, column, day and number.
        day: which is purged.
        held: the bytes; whoever has them has nothing of the image.
        taken: when, with a zone.
        places: where they were found before the purge.
    """

    name: str
    day: date
    held: bytes
    taken: datetime
    places: tuple[str, ...] = ()


@dataclass
class Report:
    """What a search found.

    `left` says where each piece still lies, by its name; empty is the proof.
    """

    pieces: Sequence[Piece] = ()
    left: dict[str, set[str]] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)
    """What the search should have found, and did not: it proves nothing."""
    searched: dict[str, int] = field(default_factory=dict)
    """Bytes that lay in each place."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Places that could not be searched, and why."""

    @property
    def waits_for_kafka(self) -> bool:
        """Whether what is left lies in Kafka's files alone."""
        places = {file.split("/", 1)[0] for files in self.left.values() for file in files}
        return bool(self.left) and places == {KAFKA}


class Proof:
    """Takes pieces of days, and looks for them.

    Args:
        settings: of this process; `searched` says where.
        lake: which the pieces are taken from.
        now: the present, with a zone.
    """

    def __init__(self, settings: Settings, lake: Lake, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._places = settings.searched
        self._lake = lake
        self._now = now

    @property
    def searches(self) -> bool:
        """Whether there is a folder to search."""
        return bool(self._places)

    def before(self, known: Iterable[Piece], due: Collection[date], held: Collection[HeldKey] = ()) -> list[Piece]:
        """What is to be looked for after the purge: what is left of an earlier one, and new pieces of these days.

        Args:
            known: pieces that an earlier purge left.
            due: days that are purged now.
            held: uploaders whose rows stay.

        Raises:
            TransientFailure: the lake is away.
            OSError: a file could not be read.
        """
        known = list(known)
        new = [piece for piece in self._pieces(due, held) if piece.name not in {one.name for one in known}]
        found, _ = self._look({piece.name: piece.held for piece in (*known, *new)})
        new = [Piece(one.name, one.day, one.held, one.taken, _places(found[one.name])) for one in new]
        return [*(piece for piece in known if found[piece.name]), *new]

    def after(self, pieces: Sequence[Piece], living: Collection[date]) -> Report:
        """Look for these pieces, and for what has to be found.

        Args:
            pieces: of purged days, from `before`.
            living: days that are kept; one of them gives the piece that proves that the search sees.

        Raises:
            TransientFailure: the lake is away.
        """
        if not pieces or not self.searches:
            return Report(pieces)
        controls = {f"control: {one.name}": one.held for one in self._pieces(sorted(living)[-1:])[:1]}
        if POSTGRES in self._places:
            controls["control: a sentence of PostgreSQL's"] = CANARY
        found, unreadable = self._look({**{piece.name: piece.held for piece in pieces}, **controls})
        return Report(
            pieces,
            {piece.name: found[piece.name] for piece in pieces if found[piece.name]},
            [name for name in controls if not found[name]] + [piece.name for piece in pieces if not piece.places],
            {place: _bytes(Path(folder)) for place, folder in self._places.items()},
            unreadable,
        )

    def _look(self, needles: Mapping[str, bytes]) -> tuple[dict[str, set[str]], dict[str, str]]:
        found: dict[str, set[str]] = {name: set() for name in needles}
        unreadable: dict[str, str] = {}
        for place, folder in self._places.items() if needles else ():
            try:
                held = search(Path(folder), needles)
            except OSError as error:
                unreadable[place] = str(error)
                continue
            for name, files in held.items():
                found[name] |= {f"{place}/{file}" for file in files}
        return found, unreadable

    def _pieces(self, days: Collection[date], held: Collection[HeldKey] = ()) -> list[Piece]:
        """Pieces of sealed values of these days; of a column, the smallest file of the day that has any gives them."""
        from resources.data_files import read_file
        from resources.held_rows import wanted_of
        from resources.lake import TableMissing
        from resources.lake_log import files_of
        from resources.whose_rows import which_of

        pieces = []
        for spec in PURGED if days else ():
            try:
                files = files_of(self._lake.open(spec.name))
            except TableMissing:
                continue
            for day in sorted(days):
                of_day = [file for file in files if file["partition.day"] == day]
                if not of_day:
                    continue
                bronze = spec in BRONZE
                columns = ("payload",) if bronze else spec.sealed
                stay = wanted_of(held)
                with self._lake.named(f"take samples of {day} in table {spec.name}"):
                    for file in sorted(of_day, key=lambda file: file["size_bytes"]):
                        rows = read_file(self._lake, spec, file, ("headers", *columns) if bronze else columns)
                        if stay.keys:
                            rows = rows.filter(~which_of(self._lake, spec, file, stay))
                        if bronze:
                            rows = rows.filter([_is_sealed(headers) for headers in rows["headers"].to_list()])
                        if not rows.is_empty():
                            break
                for name in columns:
                    values = rows[name].drop_nulls().bin.tail(PIECE_BYTES)
                    long = values.filter(values.bin.size() == PIECE_BYTES).unique(maintain_order=True).head(SAMPLES)
                    pieces += [
                        Piece(f"{spec.name}.{name} {day} {number}", day, held, self._now())
                        for number, held in enumerate(long)
                    ]
        return pieces


def as_text(pieces: Iterable[Piece]) -> str:
    """Pieces as JSON, in which no search finds their bytes."""
    return json.dumps(
        [
            {
                "name": one.name,
                "day": one.day.isoformat(),
                "held": one.held.hex(),
                "taken": one.taken.isoformat(),
                "places": one.places,
            }
            for one in pieces
        ]
    )


def from_text(text: str) -> list[Piece]:
    """The inverse of `as_text`."""
    return [
        Piece(
            one["name"],
            date.fromisoformat(one["day"]),
            bytes.fromhex(one["held"]),
            datetime.fromisoformat(one["taken"]),
            tuple(one["places"]),
        )
        for one in json.loads(text)
    ]


def _is_sealed(headers: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether a record of bronze came in an envelope; an image in the clear would leave its end in the event log."""
    try:
        return clear_of([(one["key"], one["value"]) for one in headers or ()]) is not None
    except EnvelopeError:
        return False


def _places(files: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({file.split("/", 1)[0] for file in files}))


def _bytes(folder: Path) -> int:
    total = 0
    for path in below(folder):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total
