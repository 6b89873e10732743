"""The lake's tables as a person asks for them: which there are, and what one held at a version or an instant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from resources.failures import PermanentFailure
from resources.lake_failures import TableMissing
from resources.lake_log import files_of
from transforms.tables import TABLES, TableSpec

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from resources.lake import Lake


class TableUnknown(PermanentFailure):
    """No table has that name, or the table has no such version."""


@dataclass(frozen=True)
class Held:
    """What one version of a table holds: rows by day (under None where the table has no days), files, bytes."""

    table: str
    version: int
    when: datetime
    rows: int
    files: int
    bytes: int
    days: dict[date | None, int]
    columns: tuple[str, ...]


def known_table(name: str) -> TableSpec:
    """The table of a name. Raises TableUnknown, which lists the valid ones."""
    for spec in TABLES:
        if spec.name == name:
            return spec
    raise TableUnknown(
        f"No table is named {name!r}. Valid ones: {', '.join(spec.name for spec in TABLES)}.", {"table": name}
    )


def tables_held(lake: Lake) -> Iterator[tuple[TableSpec, Held | None]]:
    """Every table that the platform knows, and what it holds now; None where nothing was written yet."""
    for spec in TABLES:
        try:
            handle = lake.open(spec.name)
        except TableMissing:
            yield spec, None
        else:
            yield spec, _held(lake, spec, handle, history_of(lake, spec.name, handle))


def history_of(lake: Lake, name: str, handle: DeltaTable, limit: int | None = None) -> list[dict[str, Any]]:
    """What a table's log still knows of its versions, the newest first, wherever the handle was put back to.

    Raises:
        TransientFailure: the lake is away.
    """
    with lake.named(f"read the history of table {name}"):
        return handle.history(limit)


def written_at(entry: dict[str, Any]) -> datetime:
    """When a version was written, by its entry in the history."""
    return datetime.fromtimestamp(entry["timestamp"] / 1000, UTC)


def held_at(lake: Lake, spec: TableSpec, at: int | datetime) -> Held:
    """What a table held at a version, or at an instant (the newest version not after it); from its log alone.

    Raises:
        TableMissing: nothing was written to it yet.
        TableUnknown: its log knows no such version any more, or not yet.
        TransientFailure: the lake is away.
    """
    handle = lake.open(spec.name)
    newest, known = handle.version(), history_of(lake, spec.name, handle)
    # Not by trying: delta-rs has one error for a version that is not there and for storage that is away.
    if isinstance(at, datetime):
        asked, found = f"at {at:%Y-%m-%d %H:%M:%S %Z}", [one["version"] for one in known if written_at(one) <= at]
    else:
        asked, found = f"{at}", [one["version"] for one in known if one["version"] == at]
    if not found:
        raise TableUnknown(
            f"Table {spec.name} has no version {asked}; it stands at {newest}, and keeps its log for days. "
            f"`darkroom lake history {spec.name}` lists those it knows.",
            {"table": spec.name},
        )
    with lake.named(f"open version {found[0]} of table {spec.name}"):
        handle.load_as_version(found[0])
    return _held(lake, spec, handle, known)


def _held(lake: Lake, spec: TableSpec, handle: DeltaTable, known: list[dict[str, Any]]) -> Held:
    with lake.named(f"read what table {spec.name} holds"):
        files: list[dict[str, Any]] = files_of(handle)
    days: dict[date | None, int] = {}
    for file in files:
        day = file.get("partition.day")
        days[day] = days.get(day, 0) + (file["num_records"] or 0)
    return Held(
        spec.name,
        handle.version(),
        written_at(next(one for one in known if one["version"] == handle.version())),
        sum(days.values()),
        len(files),
        sum(file["size_bytes"] for file in files),
        dict(sorted(days.items(), key=str)),
        tuple(field.name for field in handle.schema().fields),
    )
