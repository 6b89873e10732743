"""Back to an earlier version of a table, where that is sound.

Delta's RESTORE puts the rows of an earlier version back and leaves transaction identifiers where they are (tried with
delta-rs 1.6: ten records never landed again). So only a table whose content is computed anew from others, as a whole
day, may be restored; one whose identifiers say how far its input was taken in is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from resources.failures import PermanentFailure
from resources.job_names import train_job_name
from resources.lake import open_lake
from resources.lake_tables import history_of, known_table, written_at
from transforms.families import DIGITS
from transforms.tables import DAILY_UPLOADS, QUARANTINED_IMAGES, RAW_IMAGES, TRAINING_SET

if TYPE_CHECKING:
    from resources.settings import Settings

RESTORABLE = (DAILY_UPLOADS,)
_OFFERS = {
    RAW_IMAGES.name: "Rows that are missing are written again by `darkroom reland --from OFFSET`.",
    QUARANTINED_IMAGES.name: "A wrong verdict is tried again by `darkroom replay-quarantine`.",
    TRAINING_SET.name: f"It is made anew by the job {train_job_name(DIGITS.name)}.",
}


class RestoreRefused(PermanentFailure):
    """The table cannot soundly be put back to that version, or there is no such version."""


@dataclass(frozen=True)
class Version:
    """One version: when (UTC), Delta's operation, and what its writer noted for people."""

    version: int
    when: datetime
    operation: str
    said: str


@dataclass(frozen=True)
class Restored:
    """Versions and rows; `after` is None in a dry run."""

    before: int
    rows_before: int
    rows_then: int
    after: int | None


def versions_of(settings: Settings, name: str, limit: int) -> list[Version]:
    """The newest versions of a table that its log still knows, the newest first.

    Raises:
        TableUnknown: no table of that name is known; lists those there are.
        TableMissing: nothing was written to it yet.
    """
    lake = open_lake(settings)
    entries = history_of(lake, name, lake.open(known_table(name).name), limit)
    return [
        Version(
            int(entry["version"]),
            written_at(entry),
            str(entry.get("operation", "")),
            "; ".join(str(entry[word]) for word in ("darkroom", "who", "why") if entry.get(word)),
        )
        for entry in entries
    ]


def restore_table(settings: Settings, name: str, version: int, *, dry_run: bool = True) -> Restored:
    """Put a table back to `version`, as a new version.

    Raises:
        RestoreRefused: the table keeps identifiers of its input, or has no such version any more.
        TableMissing: nothing was written to it yet.
        TransientFailure: the lake is away, or another writer was first.
    """
    import polars as pl

    spec = known_table(name)
    if spec not in RESTORABLE:
        offer = _OFFERS.get(spec.name, "Its rows follow from those of other tables.")
        raise RestoreRefused(
            f"Table {name} keeps in its identifiers how far it has come, and RESTORE would rewind rows but not "
            f"identifiers: what it took would never come again. {offer} Restorable: "
            f"{', '.join(one.name for one in RESTORABLE)}.",
            {"table": name, "version": version},
        )
    lake = open_lake(settings)
    handle = lake.open(name)
    before = handle.version()
    if version not in (entry["version"] for entry in history_of(lake, name, handle)):
        raise RestoreRefused(
            f"Table {name} has no version {version} any more, or not yet; it stands at {before}. "
            f"`darkroom lake history {name}` lists those its log knows.",
            {"table": name, "version": version},
        )
    then = lake.open(name)
    with lake.named(f"read version {version} of table {name}"):
        then.load_as_version(version)
        rows_before, rows_then = (pl.scan_delta(one).select(pl.len()).collect().item() for one in (handle, then))
    if dry_run:
        return Restored(before, rows_before, rows_then, None)
    with lake.named(f"restore table {name} to version {version}"):
        handle.restore(version)
        handle.update_incremental()
    return Restored(before, rows_before, rows_then, handle.version())
