"""The memory of developing is bounded by a chunk, not by the backlog."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.resources.developing.stage import Stage

RECORDS, RECORD_BYTES = 80, 4 * 1024 * 1024
MOST_MIB = 300
"""224 were seen: 90 are libraries that load late, the rest a chunk of 16 MiB and its copies on the way. Held whole, the
backlog alone would be 320."""

DEVELOP = """
import sys
from pathlib import Path
import psutil
from resources.decoding import DecodePool
from resources.developing import Developer
from resources.keys import open_key_store
from resources.lake import Lake
from resources.settings import Settings

if __name__ == "__main__":
    settings = Settings(home=Path(sys.argv[1]), decode_workers=1)
    lake, keys = Lake(settings.lake_root), open_key_store(settings)
    before = psutil.Process().memory_info().rss
    with DecodePool(settings) as pool:
        print(Developer(settings, lake, keys, None, pool).develop().records)
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    print((int(peak) * 1024 - before) // 2**20)
"""


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc; runs on Linux")
def test_a_backlog_of_320_mib_is_developed_in_the_memory_of_a_chunk(stage: Stage, tmp_path: Path) -> None:
    for number in range(RECORDS):
        stage.bronze.plain(b"no image" + os.urandom(RECORD_BYTES), partition=number % 2)
        if number % 10 == 9:
            stage.bronze.land()
    script = tmp_path / "develop.py"
    script.write_text(DEVELOP)
    run = subprocess.run(
        [sys.executable, str(script), str(stage.settings.home)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert run.returncode == 0, run.stderr
    records, grown = map(int, run.stdout.split())
    assert records == RECORDS
    assert grown < MOST_MIB
