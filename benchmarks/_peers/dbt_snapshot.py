"""dbt snapshot on DuckDB: takes a folder and the images of each day; prints CPU seconds a batch and its peak memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import duckdb

PROFILE = """
darkroom_bench:
  target: bench
  outputs:
    bench: {{type: duckdb, path: {database}, threads: 2}}
"""
PROJECT = """
name: darkroom_bench
version: "1.0"
profile: darkroom_bench
snapshot-paths: [snapshots]
"""
SNAPSHOT = """
{% snapshot dim_item %}
{{ config(target_schema="main", unique_key="item_id", strategy="check", check_cols="all",
          hard_deletes="invalidate") }}
SELECT * FROM main.items
{% endsnapshot %}
"""


def main(work: Path, images: list[Path]) -> None:
    """Snapshot each image in turn; the first fills the table and is not counted."""
    database = work / "bench.duckdb"
    (work / "snapshots").mkdir()
    (work / "snapshots" / "dim_item.sql").write_text(SNAPSHOT)
    (work / "dbt_project.yml").write_text(PROJECT)
    (work / "profiles.yml").write_text(PROFILE.format(database=database))
    dbt = Path(sys.executable).parent / "dbt"
    environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    costs = []
    for image in images:
        with duckdb.connect(str(database)) as connection:
            connection.execute(f"CREATE OR REPLACE TABLE main.items AS SELECT * FROM read_parquet('{image}')")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [dbt, "snapshot", "--project-dir", work, "--profiles-dir", work, "--quiet"],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    with duckdb.connect(str(database)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM main.dim_item").fetchone() or (0,)
    print(json.dumps({"refresh": costs[1:], "peak": [peak], "rows": [rows]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]])
