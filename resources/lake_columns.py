"""Columns and conditions of a table and of rows, against what this release knows of them.

A table that an older release made gets what it lacks, in the log alone: a new column that may be null is null in rows
that stand, and no file is written anew. What would narrow it (a column less, another type, a null less) is refused.
delta-rs keeps the conditions (CHECK constraints) and does not try them on files that it did not write itself: rows are
tried here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, Field
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError

from resources.lake_failures import CommitConflict, SchemaRefused, first_line
from transforms.table_spec import TableSpec

TRIES = 10
_CONSTRAINT = "delta.constraints."


def widen(handle: DeltaTable, spec: TableSpec, reopen: Callable[[], DeltaTable]) -> DeltaTable:
    """Give the table the nullable columns and the conditions of `spec` that it lacks.

    Args:
        reopen: opens it as it is then.

    Returns:
        A handle on the table that has them.

    Raises:
        SchemaRefused: rows that stand break a condition.
        CommitConflict: other writers kept being first.
        deltalake.exceptions.DeltaError, OSError: as they came from the storage.
    """
    for _ in range(TRIES):
        try:
            if not _widened(handle, spec):
                return handle
        except CommitFailedError:
            # Another process widened it, or committed rows, meanwhile.
            handle = reopen()
    raise CommitConflict(
        f"Table {spec.name}: other writers committed {TRIES} times while its columns or conditions were to be changed. "
        "Nothing was changed; try again.",
        {"table": spec.name},
    )


def _widened(handle: DeltaTable, spec: TableSpec) -> bool:
    """Whether the table lacked anything, and has got it now."""
    named = {field.name for field in handle.schema().fields}
    wanted = DeltaSchema.from_arrow(spec.schema).fields
    columns: list[Field] = [field for field in wanted if field.name not in named and field.nullable]
    kept = {name.removeprefix(_CONSTRAINT) for name in handle.metadata().configuration if name.startswith(_CONSTRAINT)}
    checks = {name: condition for name, condition in spec.checks.items() if name not in kept}
    if columns:
        handle.alter.add_columns(columns)
    if checks:
        # Not left to delta-rs: it says the rows themselves.
        if broken := _broken(spec, checks, pl.scan_delta(handle)):
            raise SchemaRefused(
                f"Rows that stand in table {spec.name} break {broken}, which this release asks of every row. Nothing "
                "was changed: use the release that wrote them, or take them out.",
                {"table": spec.name},
            )
        handle.alter.add_constraint(checks)
    return bool(columns or checks)


def refuse_other_columns(handle: DeltaTable, spec: TableSpec, uri: str) -> None:
    """Raises: SchemaRefused: the table has other columns than `spec`; the message lists both sides."""
    expected, found = _columns(DeltaSchema.from_arrow(spec.schema)), _columns(handle.schema())
    if expected != found:
        raise SchemaRefused(
            f"Table {spec.name} at {uri} has other columns than this release. "
            f"Only in the table: {_listed(found - expected)}. Only in this release: {_listed(expected - found)}. "
            "Columns that may be null can be added, and nothing can be taken away: use the release that wrote it.",
            {"table": spec.name},
        )


def conform(spec: TableSpec, data: pa.RecordBatch | pa.Table) -> pa.Table:
    """The rows in the columns and types of `spec`.

    Raises:
        SchemaRefused: a column is missing or does not fit, or a row breaks a condition.
    """
    table = pa.Table.from_batches([data]) if isinstance(data, pa.RecordBatch) else data
    try:
        if not table.schema.equals(spec.schema):
            table = table.select(spec.schema.names).cast(spec.schema)
        _try_rows(spec, table)
        return table
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise SchemaRefused(
            f"Rows for table {spec.name} do not fit its columns: {first_line(error)}. Nothing was written.",
            {"table": spec.name},
        ) from error


def _try_rows(spec: TableSpec, table: pa.Table) -> None:
    """Raises: ValueError: a null where there may be none, or a row that breaks a condition."""
    for field in spec.schema:
        if not field.nullable and table.column(field.name).null_count:
            raise ValueError(f"{table.column(field.name).null_count} rows have no {field.name}, which may not be null")
    needed = {name for condition in spec.checks.values() for name in pl.sql_expr(condition).meta.root_names()}
    if needed and (broken := _broken(spec, spec.checks, pl.DataFrame(table.select(sorted(needed))).lazy())):
        raise ValueError(f"rows break {broken}")


def _broken(spec: TableSpec, checks: Mapping[str, str], rows: pl.LazyFrame) -> str:
    """Those of the conditions that a row breaks, for people; empty for none."""
    held = rows.select(
        pl.sql_expr(condition).fill_null(value=False).all().alias(name) for name, condition in checks.items()
    )
    broken = [name for name, holds in held.collect().row(0, named=True).items() if not holds]
    return ", ".join(f"{name} ({spec.checks[name]})" for name in broken)


def _columns(schema: DeltaSchema) -> set[tuple[str, str, bool]]:
    return {(field.name, str(field.type), field.nullable) for field in schema.fields}


def _listed(columns: set[tuple[str, str, bool]]) -> str:
    return ", ".join(f"{n} {t}{'' if nullable else ' not null'}" for n, t, nullable in sorted(columns)) or "none"
