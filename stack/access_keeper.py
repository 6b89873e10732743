"""Keeps people's rights as the directory has them: `python -m stack.access_keeper --home HOME`.

Every so many seconds (`access_seconds`) it asks the directory for everybody, and gives and takes what follows from it:
logins of PostgreSQL and rules at Kafka. Tokens follow by themselves, for they live a minute. What the policy gives a
group or a service is not its matter: that drifts visibly, and `darkroom access apply` puts it right.

A directory that is away, or answers in part, changes nothing. One that has lost most people at once is more likely
broken than right: then nobody loses anything before `darkroom access apply --yes` says so.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
from pathlib import Path

from pydantic import BaseModel, ValidationError

from access.kafka_acls import PERSON, is_person
from access.policy import load_policy
from resources.enforcement import everybody_of
from resources.failures import PlatformFailure
from resources.kafka_rights import KafkaRights
from resources.shop_logins import plan_logins
from stack.paths import Layout, write_private
from stack.people import settle_people
from stack.state import stack_settings

AGAIN_SECONDS = 2.0
"""After a look that failed."""
SHARE = 9
"""The pause is at least so many times the look, so that a large directory is not asked all the time."""
FEW = 10
"""So many may leave at once without a question."""
_logger = logging.getLogger("darkroom.access")


class Sign(BaseModel):
    """The keeper's sign of life: when it looked last and looks again, in seconds since the epoch, and what kept it from
    its work."""

    at: float
    next: float
    wrong: str = ""


class TooManyLeave(Exception):
    """The directory has lost more people than is likely."""


def sign_file(layout: Layout) -> Path:
    """Where it leaves its sign of life."""
    return layout.state / "access.json"


def read_sign(layout: Layout) -> Sign | None:
    """The last sign of life; None where there is none that can be read."""
    try:
        return Sign.model_validate_json(sign_file(layout).read_bytes())
    except (OSError, ValidationError):
        return None


def follow(home: Path) -> list[str]:
    """Look once, and do what follows. Returns what was done.

    Raises:
        PlatformFailure: the directory, PostgreSQL or Kafka is away or refuses.
        TooManyLeave: nothing was done, for so much is not likely.
    """
    settings, policy = stack_settings(home, "admin"), load_policy()
    ask = everybody_of(settings)
    if ask is None:
        return []  # no directory is set, and nobody's to follow
    people = list(ask())
    logins = plan_logins(settings.postgres_dsn, policy, people)
    rights = KafkaRights(settings, policy, {person.name: person.groups for person in people})
    rules = [change for change in rights.plan() if is_person(change.rule.principal)]
    leaving = {change.name for change in logins.changes if not change.groups}
    leaving |= {change.rule.principal.removeprefix(PERSON) for change in rules if not change.missing}
    if len(leaving) > max(FEW, len(people) // 2):
        raise TooManyLeave(
            f"The directory has {len(people)} people, and {len(leaving)} would lose rights in PostgreSQL or at Kafka. "
            "Is it whole? Nothing was changed. `darkroom access plan` shows them, and `darkroom access apply --yes` "
            "does it."
        )
    done = [change.sentence for change in (settle_people(home, people) if logins.changes else logins).changes]
    done += [change.sentence for change in (rights.apply(rules) if rules else ())]
    return done


def main() -> None:
    """Follow the directory until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    home = parser.parse_args().home
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    layout, wrong = Layout(home), ""
    every = stack_settings(home, "admin").access_seconds
    while not stopped.is_set():
        said, wrong, began = wrong, "", time.time()
        try:
            for sentence in follow(home):
                _logger.info("put right: %s", sentence)
        except (PlatformFailure, TooManyLeave) as error:
            wrong = str(error)
            if wrong != said:
                _logger.error(wrong)
        now = time.time()
        pause = AGAIN_SECONDS if wrong else max(every, SHARE * (now - began))
        write_private(sign_file(layout), Sign(at=now, next=now + pause, wrong=wrong).model_dump_json())
        stopped.wait(pause)


if __name__ == "__main__":
    main()
