"""Land and develop a stream in a process of its own, so that peak memory is its alone.

Reads settings as JSON from standard input; prints JSON: records, processed, quarantined by reason, the peak of this
process and of its largest decoding process, in MiB.
"""

from __future__ import annotations

import json
import resource
import sys

from benchmarks._lanes import peak_mib
from resources.decoding import DecodePool
from resources.developing import Developer
from resources.keys import open_key_store
from resources.lake import open_lake
from resources.landing import Lander
from resources.settings import Settings


def main() -> None:
    """Run once."""
    settings = Settings.model_validate_json(sys.stdin.read())
    lake = open_lake(settings)
    landed = Lander(settings, lake).land()
    with DecodePool(settings) as pool:
        result = Developer(settings, lake, open_key_store(settings), None, pool).develop()
    report = {
        "landed": landed.records,
        "records": result.records,
        "processed": result.processed,
        "quarantined": {reason.value: count for reason, count in result.quarantined.items()},
        "peak": peak_mib(),
        "decoding_peak": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
