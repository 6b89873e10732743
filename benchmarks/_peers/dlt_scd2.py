"""dlt's scd2 on DuckDB: takes a folder and the images of each day; prints CPU seconds a batch and its peak memory."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path


def main(work: Path, images: list[Path]) -> None:
    """Load each image in turn; the first fills the table and is not counted."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    import pyarrow.parquet as pq

    pipeline = dlt.pipeline(
        "darkroom_bench",
        destination=dlt.destinations.duckdb(str(work / "bench.duckdb")),
        dataset_name="shop",
        pipelines_dir=str(work / "pipelines"),
    )
    costs = []
    for image in images:
        table = pq.read_table(image)
        resource_of_day = dlt.resource(
            [table],
            name="dim_item",
            write_disposition={"disposition": "merge", "strategy": "scd2", "row_version_column_name": "row_version"},
        )
        from dlt.sources.helpers.transform import add_row_hash_to_table

        resource_of_day.add_map(add_row_hash_to_table("row_version"))
        began = time.process_time()
        pipeline.run(resource_of_day)
        costs.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"refresh": costs[1:], "peak": [peak]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]])
