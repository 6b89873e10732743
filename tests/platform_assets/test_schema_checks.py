"""The check `schema_as_specified` on real tables that are not as specified: red, and it says what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import Schema

from platform_assets.definitions import defs
from platform_assets.schema import asset_key
from platform_assets.table_checks import SCHEMA, schema_result
from resources.lake import Lake
from tests.platform_assets.conftest import House, png
from transforms.tables import PROCESSED_IMAGES, TABLES, TableSpec

MORE = pa.field("shoe_size", pa.int32())


def column_of(spec: TableSpec) -> str:
    """A column that the table can do without: not the one that it is partitioned by."""
    return next(name for name in spec.schema.names if name not in spec.partition_by)


def changed(spec: TableSpec, *, drop: str | None = None, add: pa.Field | None = None) -> TableSpec:
    fields = [field for field in spec.schema if field.name != drop]
    return replace(spec, schema=pa.schema([*fields, *([add] if add is not None else [])]))


def differences(result: dg.AssetCheckResult) -> list[str]:
    """The lines of the table that the check shows."""
    text = result.metadata["differences"].value
    assert isinstance(text, str)
    return [] if text == "none" else text.splitlines()[2:]


@pytest.mark.parametrize("spec", TABLES, ids=lambda spec: spec.name)
def test_a_table_as_specified_passes_and_shows_no_difference(tmp_path: Path, spec: TableSpec) -> None:
    lake = Lake(str(tmp_path))
    lake.ensure(spec)
    result = schema_result(lake, spec)
    assert (result.passed, differences(result)) == (True, [])
    assert result.metadata["columns"].value == len(spec.schema)


DIFFERENCES = ["one more", "one less", "another type", "nullable", "no partitions", "finer partitions"]
CASES = [
    pytest.param(spec, difference, id=f"{spec.name}-{difference}")
    for spec in TABLES
    for difference in DIFFERENCES
    if spec.partition_by or difference != "no partitions"
]


@pytest.mark.parametrize(("spec", "difference"), CASES)
def test_a_table_that_differs_turns_the_check_red_and_the_difference_is_named(
    tmp_path: Path, spec: TableSpec, difference: str
) -> None:
    name = column_of(spec)
    field = next(field for field in Schema.from_arrow(spec.schema).fields if field.name == name)
    kind = f"{field.type}{'' if field.nullable else ' not null'}"
    loose = pa.schema([one.with_nullable(True) if one.name == name else one for one in spec.schema])
    days = ", ".join(spec.partition_by)
    finer = (*spec.partition_by, name)
    stored, said = {
        "one more": (changed(spec, add=MORE), ['| only in the table | shoe_size | PrimitiveType("integer") |']),
        "one less": (changed(spec, drop=name), [f"| only specified | {name} | {kind} |"]),
        "another type": (
            changed(spec, drop=name, add=pa.field(name, pa.bool_())),
            [f'| only in the table | {name} | PrimitiveType("boolean") |', f"| only specified | {name} | {kind} |"],
        ),
        "nullable": (
            replace(spec, schema=loose),
            [f"| only in the table | {name} | {field.type} |", f"| only specified | {name} | {kind} |"],
        ),
        "no partitions": (replace(spec, partition_by=()), [f"| partitioned by |  | specified: {days} |"]),
        "finer partitions": (
            replace(spec, partition_by=finer),
            [f"| partitioned by | {', '.join(finer)} | specified: {days} |"],
        ),
    }[difference]
    lake = Lake(str(tmp_path))
    lake.ensure(stored)
    result = schema_result(lake, spec)
    assert (result.passed, differences(result)) == (False, said)


def test_a_column_that_somebody_added_turns_the_check_red_in_dagster(house: House) -> None:
    house.bronze.sealed(png(1))
    house.land()
    house.run()
    house.lake.open(PROCESSED_IMAGES.name).alter.add_columns(Schema.from_arrow(pa.schema([MORE])).fields)
    key = dg.AssetCheckKey(asset_key(PROCESSED_IMAGES), SCHEMA)
    job = dg.Definitions(
        assets=defs.assets,
        asset_checks=defs.asset_checks,
        jobs=[dg.define_asset_job("alone", selection=dg.AssetSelection.checks(key))],
        resources=house.resources,
    ).resolve_job_def("alone")
    (check,) = job.execute_in_process(instance=house.instance).get_asset_check_evaluations()
    assert (check.check_name, check.passed) == (SCHEMA, False)
    assert "| only in the table | shoe_size |" in str(check.metadata["differences"].value)
