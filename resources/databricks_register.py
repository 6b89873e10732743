"""What the Databricks job `darkroom-register-tables` runs: the lake's tables become external tables of Unity Catalog.

Entry point `darkroom-register`. It writes nothing into the lake; a table that is not written yet is passed over, and
comes at the next run.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from transforms.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def main() -> None:
    """Register the tables of the lake that the arguments name."""
    from pyspark.sql import SparkSession

    parser = argparse.ArgumentParser(prog="darkroom-register", description="Make the lake's tables known to a catalog.")
    parser.add_argument("--lake", required=True, help="root of the lake, such as s3://BUCKET/lake")
    parser.add_argument("--catalog", required=True, help="catalog to register them in; its schemas have to be there")
    given = parser.parse_args()
    for name, said in register(SparkSession.builder.getOrCreate(), given.lake, given.catalog).items():
        sys.stdout.write(f"{name}: {said}\n")


def register(session: SparkSession, lake: str, catalog: str) -> dict[str, str]:
    """Register every table that is there; returns what became of each: registered, or not written yet."""
    from delta.tables import DeltaTable

    done = {}
    for spec in TABLES:
        uri = f"{lake.rstrip('/')}/{spec.name}"
        if not DeltaTable.isDeltaTable(session, uri):
            done[spec.name] = "not written yet"
            continue
        schema, name = spec.name.split("/")
        # Names of our own tables, and a URI of the caller's in quotes.
        place = uri.replace("'", "''")
        session.sql(f"CREATE TABLE IF NOT EXISTS `{catalog}`.`{schema}`.`{name}` USING DELTA LOCATION '{place}'")
        done[spec.name] = "registered"
    return done
