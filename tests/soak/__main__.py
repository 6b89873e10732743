"""`python -m tests.soak`: one soak, its figures, and exit code 1 where a promise was broken."""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.soak import leaders, links
from tests.soak.leaders import strike_leaders
from tests.soak.report import put_into, table
from tests.soak.siege import Outcome, fresh_seed, soak


def main() -> int:
    """Run it; 0 when nothing was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="of load and faults (30)")
    parser.add_argument("--seed", type=int, help="of the plan; any when none is given, and it is said")
    parser.add_argument("--page", type=Path, help="a page that the figures are put into, such as docs/soak.md")
    asked = parser.parse_args()
    if asked.minutes < 1:
        parser.error("--minutes: at least 1, for the first strike comes after 10 s and none in the last 30")
    if not links.own_network() and links.can_be_had():
        return links.again_in_own_network()
    seed = fresh_seed() if asked.seed is None else asked.seed
    outcome = soak(asked.minutes, seed, _say)
    # Half an hour's figures do not wait for what comes after them.
    _tell(outcome, None, asked.page)
    _say("three brokers: leaders are killed, and cut off")
    with tempfile.TemporaryDirectory(prefix="darkroom-brokers-") as folder:
        brokers = strike_leaders(Path(folder), max(3, round(asked.minutes / 2)), seed, _say)
    _tell(outcome, brokers, asked.page)
    again = f"make soak MINUTES={asked.minutes:g} SEED={seed}"
    broken = [*outcome.broken, *brokers.broken]
    print(f"\n{'BROKEN' if broken else 'Nothing lost, nothing doubled'}. The same again: {again}")
    return 1 if broken else 0


def _tell(outcome: Outcome, brokers: leaders.Outcome | None, page: Path | None) -> None:
    _say("\n".join(table(outcome, brokers)))
    if page is not None:
        page.write_text(put_into(page.read_text(), outcome, brokers, datetime.now(UTC).date()))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
