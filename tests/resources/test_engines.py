"""Every engine reads the lake's tables, also while they are written: polars, DuckDB, delta-rs's kernel, Spark, in both
of its ways."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from resources.databricks_register import register
from resources.lake import Lake
from resources.settings import Settings
from resources.spark_compute import SparkCompute, end_session
from tests.resources.test_lake import records
from transforms.tables import RAW_IMAGES, TABLES, TableSpec

BATCHES, ROWS = 12, 5


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCompute]:
    home = tmp_path_factory.mktemp("spark")
    (home / "spark.conf").write_text("spark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\n")
    settings = Settings(home=home, spark_master="local[2]", spark_properties=home / "spark.conf")
    compute = SparkCompute(settings, Lake(str(home / "lake")).storage)
    yield compute
    end_session()


def example(spec: TableSpec) -> pa.Table:
    """One row of a table: every column that must have a value has one."""

    def value(kind: pa.DataType) -> object:
        if pa.types.is_list(kind):
            return []
        plain: object = {"string": "x", "binary": b"x", "bool": True}.get(str(kind), 1)
        return pa.scalar(plain, kind if not pa.types.is_temporal(kind) else pa.int64()).as_py()

    # What the conditions of the tables ask for.
    given = {"op": "upsert", "split": "train", "end_date": None}
    columns = []
    for field in spec.schema:
        if field.name in given:
            columns.append(pa.array([given[field.name]], field.type))
        elif pa.types.is_date32(field.type):
            columns.append(pa.array([20_000], pa.int32()).cast(pa.date32()))
        elif pa.types.is_timestamp(field.type):
            columns.append(pa.array([1_700_000_000_000_000], pa.int64()).cast(field.type))
        elif pa.types.is_struct(field.type) or pa.types.is_decimal(field.type):
            columns.append(pa.array([None if field.nullable else 1], field.type))
        else:
            columns.append(pa.array([value(field.type)], field.type))
    return pa.Table.from_arrays(columns, schema=spec.schema)


COUNT = "SELECT count(*) AS n FROM t"


def counted(table: Any) -> int:
    """The answer to COUNT, however an engine hands Arrow over."""
    whole = table.read_all() if hasattr(table, "read_all") else pa.table(table)
    return whole["n"][0].as_py()


@pytest.mark.parametrize("spec", TABLES, ids=lambda spec: spec.name)
def test_every_table_is_read_alike_by_every_engine(tmp_path: Path, spark: SparkCompute, spec: TableSpec) -> None:
    lake = Lake(str(tmp_path / "lake"))
    handle = lake.ensure(spec)
    lake.append(handle, spec, example(spec))
    uri = lake.uri(spec.name)
    names = sorted(spec.schema.names)
    texts = [name for name in names if spec.schema.field(name).type == pa.string()]
    assert sorted(pl.read_delta(uri).columns) == names
    dataset = DeltaTable(uri).to_pyarrow_dataset()
    duck = duckdb.connect().from_arrow(dataset).arrow().read_all()
    assert (duck.num_rows, sorted(duck.column_names)) == (1, names)
    kernel = pa.table(QueryBuilder().register("t", DeltaTable(uri)).execute("SELECT count(*) AS n FROM t").read_all())
    assert kernel["n"].to_pylist() == [1]
    read = spark.session().read.format("delta").load(uri)
    assert sorted(read.columns) == names
    assert [set(row.asDict().values()) <= {"x", "upsert", "train", None} for row in read.select(*texts).collect()] == [
        True
    ]


def test_tables_are_registered_in_a_catalog_and_read_by_name(tmp_path: Path, spark: SparkCompute) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.append(lake.ensure(RAW_IMAGES), RAW_IMAGES, records(0, 0, 1))
    session = spark.session()
    for name in ("images", "recognition", "shop"):
        session.sql(f"CREATE SCHEMA IF NOT EXISTS {name}")
    for _ in range(2):
        done = register(session, lake.root, "spark_catalog")
        assert {name for name, said in done.items() if said == "registered"} == {RAW_IMAGES.name}
        assert set(done) == {spec.name for spec in TABLES}
    assert session.sql("SELECT count(*) FROM images.raw_images").collect()[0][0] == 2
    assert lake.open(RAW_IMAGES.name).version() == 2, "nothing is written"
    session.sql("DROP TABLE images.raw_images")


def test_spark_keeps_to_the_conditions_that_we_put_on_a_table(tmp_path: Path, spark: SparkCompute) -> None:
    from pyspark.sql import functions as f

    lake = Lake(str(tmp_path / "lake"))
    lake.append(lake.ensure(RAW_IMAGES), RAW_IMAGES, records(0, 0))
    uri = lake.uri(RAW_IMAGES.name)
    rows = spark.session().read.format("delta").load(uri)
    with pytest.raises(Exception, match="offsets_from_0"):
        rows.withColumn("offset", rows["offset"] - 5).write.format("delta").mode("append").save(uri)
    with pytest.raises(Exception, match=r"NOT NULL|NOT_NULL"):
        rows.withColumn("topic", f.lit(None).cast("string")).write.format("delta").mode("append").save(uri)
    assert pl.scan_delta(uri).select(pl.len()).collect().item() == 1


def test_bronze_is_a_source_of_spark_s_stream_while_it_is_written(tmp_path: Path, spark: SparkCompute) -> None:
    """A lander appends, a streaming query follows, every engine counts: no torn commit, and equal counts at the end."""
    lake = Lake(str(tmp_path / "lake"))
    handle = lake.ensure(RAW_IMAGES)
    uri = lake.uri(RAW_IMAGES.name)
    lake.append(handle, RAW_IMAGES, records(0, *range(ROWS)), {"a": 0})
    failed: list[BaseException] = []

    def land() -> None:
        try:
            for batch in range(1, BATCHES):
                offsets = range(batch * ROWS, (batch + 1) * ROWS)
                lake.append(handle, RAW_IMAGES, records(batch % 3, *offsets), {"a": batch})
        except BaseException as error:
            failed.append(error)

    session = spark.session()
    query = (
        session.readStream.format("delta")
        .load(uri)
        .select("partition", "offset")
        .writeStream.format("memory")
        .queryName("seen")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(processingTime="100 milliseconds")
        .start()
    )
    writer = threading.Thread(target=land)
    writer.start()
    counts = []
    while writer.is_alive():
        counts.append(
            (
                pl.scan_delta(uri).select(pl.len()).collect().item(),
                counted(QueryBuilder().register("t", DeltaTable(uri)).execute(COUNT).read_all()),
                counted(duckdb.connect().from_arrow(DeltaTable(uri).to_pyarrow_dataset()).query("t", COUNT).arrow()),
                session.read.format("delta").load(uri).count(),
            )
        )
    writer.join()
    query.processAllAvailable()
    query.stop()
    assert failed == []
    assert all(count % ROWS == 0 for pair in counts for count in pair), "a commit is seen whole or not at all"
    assert all(list(one) == sorted(one) for one in counts), "each engine sees what the one before it saw, or more"
    assert counts == sorted(counts)
    seen = {tuple(row) for row in session.table("seen").collect()}
    wanted = {(batch % 3, offset) for batch in range(BATCHES) for offset in range(batch * ROWS, (batch + 1) * ROWS)}
    assert seen == wanted
    assert session.table("seen").count() == pl.read_delta(uri).height == BATCHES * ROWS
