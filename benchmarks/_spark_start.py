"""A Spark session's first result, in a process of its own: wall seconds, and Java's processor seconds until then.

Reads settings as JSON from standard input: the lake has a table of raw images.
"""

from __future__ import annotations

import json
import sys
import time

import psutil

from resources.lake import open_lake
from resources.settings import load_settings
from resources.spark_compute import SparkCompute, end_session
from stack.spark_archive import unchanged
from transforms.tables import RAW_IMAGES


def main() -> None:
    """Start, read the table by a function in Python, and print."""
    settings = load_settings(json.load(sys.stdin))
    lake, began = open_lake(settings), time.perf_counter()
    session = SparkCompute(settings, lake.storage).session()
    rows = session.read.format("delta").load(lake.uri(RAW_IMAGES.name)).select("offset", "payload")
    rows.mapInArrow(unchanged, rows.schema).toArrow()
    seconds = time.perf_counter() - began
    (java,) = [one for one in psutil.Process().children(recursive=True) if one.name() == "java"]
    print(seconds, sum(java.cpu_times()[:2]))
    end_session()


if __name__ == "__main__":
    main()
