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
            yield spec, _held(spec, handle)


def held_at(lake: Lake, spec: TableSpec, at: int | datetime) -> Held:
    """What a table held at a version, or at an instant (the newest version not after it); from its log alone.

    Raises:
        TableMissing: nothing was written to it yet.
        TableUnknown: its log knows no such version any more, or not yet.
    """
    from deltalake.exceptions import DeltaError

    handle = lake.open(spec.name)
    newest = handle.version()
    asked = f"at {at:%Y-%m-%d %H:%M:%S %Z}" if isinstance(at, datetime) else f"{at}"
    try:
        handle.load_as_version(at)
    except (DeltaError, OSError) as error:
        raise TableUnknown(
            f"Table {spec.name} has no version {asked}; it stands at {newest}, and keeps its log for days. "
            f"`darkroom lake history {spec.name}` lists those it knows.",
            {"table": spec.name},
        ) from error
    return _held(spec, handle)


def _held(spec: TableSpec, handle: DeltaTable) -> Held:
    files: list[dict[str, Any]] = files_of(handle)
    days: dict[date | None, int] = {}
    for file in files:
        day = file.get("partition.day")
        days[day] = days.get(day, 0) + (file["num_records"] or 0)
    # Of a handle that was put back, the history still begins with the newest.
    entry = next(one for one in handle.history() if one["version"] == handle.version())
    return Held(
        spec.name,
        handle.version(),
        datetime.fromtimestamp(entry["timestamp"] / 1000, UTC),
        sum(days.values()),
        len(files),
        sum(file["size_bytes"] for file in files),
        dict(sorted(days.items(), key=str)),
        tuple(field.name for field in handle.schema().fields),
    )
