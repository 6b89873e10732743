"""Columns of a table and of rows against what this release knows of them."""

from __future__ import annotations

import pyarrow as pa
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema

from resources.lake_failures import SchemaRefused, first_line
from transforms.table_spec import TableSpec


def refuse_other_columns(handle: DeltaTable, spec: TableSpec, uri: str) -> None:
    """Raises: SchemaRefused: the table has other columns than `spec`; the message lists both sides."""
    expected, found = _columns(DeltaSchema.from_arrow(spec.schema)), _columns(handle.schema())
    if expected != found:
        raise SchemaRefused(
            f"Table {spec.name} at {uri} has other columns than this release. "
            f"Only in the table: {_listed(found - expected)}. Only in this release: {_listed(expected - found)}. "
            "Use the release that wrote it, or migrate the table.",
            {"table": spec.name},
        )


def conform(spec: TableSpec, data: pa.RecordBatch | pa.Table) -> pa.Table:
    """The rows in the columns and types of `spec`.

    Raises:
        SchemaRefused: a column is missing or does not fit.
    """
    table = pa.Table.from_batches([data]) if isinstance(data, pa.RecordBatch) else data
    if table.schema.equals(spec.schema):
        return table
    try:
        return table.select(spec.schema.names).cast(spec.schema)
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise SchemaRefused(
            f"Rows for table {spec.name} do not fit its columns: {first_line(error)}. Nothing was written.",
            {"table": spec.name},
        ) from error


def _columns(schema: DeltaSchema) -> set[tuple[str, str, bool]]:
    return {(field.name, str(field.type), field.nullable) for field in schema.fields}


def _listed(columns: set[tuple[str, str, bool]]) -> str:
    return ", ".join(f"{n} {t}{'' if nullable else ' not null'}" for n, t, nullable in sorted(columns)) or "none"
