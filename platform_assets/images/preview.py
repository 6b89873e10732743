"""Facts and a few rows of a table, for its page in Dagster.

The event log lives for ever: a preview names its columns, and takes none that is sealed, an id, a pseudonym or a group.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.reporting import markdown_table
from transforms.tables import TableSpec

if TYPE_CHECKING:
    from resources.lake import Lake

ROWS = 5
PERSONAL = frozenset({"id", "pseudonym", "key", "groups", "near_duplicate_of", "perceptual_hash", "headers", "payload"})
"""Columns in clear that still speak of one person or one image; no preview shows them."""


def delta_facts(lake: "Lake", spec: TableSpec) -> tuple[dict[str, Any], str]:
    """Rows, files, bytes, version and place of a table as it is now; and its version as text."""
    from resources.upkeep import contents

    handle = lake.open(spec.name)
    files, size, rows = contents(handle)
    facts: dict[str, Any] = {
        "dagster/row_count": rows,
        "bytes": size,
        "files": files,
        "delta version": handle.version(),
        "dagster/uri": lake.uri(spec.name),
    }
    return facts, str(handle.version())


def preview(lake: "Lake", spec: TableSpec, columns: Sequence[str], newest_by: str) -> dg.MarkdownMetadataValue:
    """The newest rows of the newest day, by a time column, with only the columns named.

    Raises:
        ValueError: a column is sealed or personal; lists the valid ones.
    """
    hidden = PERSONAL | set(spec.sealed)
    if refused := sorted(set(columns) & hidden):
        valid = ", ".join(name for name in spec.schema.names if name not in hidden)
        raise ValueError(f"A preview of {spec.name} may not show {', '.join(refused)}. Valid columns: {valid}.")
    import polars as pl

    table = pl.scan_delta(lake.open(spec.name))
    newest = lake.collect(table.select(pl.col("day").max()), spec.name).item()
    if newest is None:
        return markdown_table(columns, [])
    shown = table.filter(pl.col("day") == newest).select(*columns).top_k(ROWS, by=newest_by)
    rows = lake.collect(shown, spec.name)
    return markdown_table(columns, [[_shown(value) for value in row] for row in rows.iter_rows()])


def _shown(value: Any) -> object:
    if isinstance(value, float):
        return round(value, 2)
    return value.isoformat(sep=" ", timespec="seconds") if hasattr(value, "hour") else value
