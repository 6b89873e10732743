"""What the owner of the keys does with them: look, rotate, switch off and on, destroy. Each deed is audited before.

Destroying a day puts a tombstone in place of its key: every image of the day, wherever a copy lies, is dark. Doing it
again changes nothing. Rotating wraps the days' keys anew and touches no image; stopped, it goes on when done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from resources.audit import audited
from resources.key_holds import HeldKey, Hold
from resources.key_objects import KeyDestroyed
from resources.key_places import customer_key, key_objects
from resources.key_provider import Cmk
from resources.key_records import KeyRecords, Tombstone
from resources.key_rights import key_rights
from transforms.names import KeyName
from transforms.retention import PURGED

if TYPE_CHECKING:
    from resources.keys import KeyStore
    from resources.lake import Lake
    from resources.settings import Settings


SETTLE_SECONDS = 2.0
"""Between two looks of a rotation: far longer than making a key takes."""


@dataclass(frozen=True)
class DayOfKeys:
    """A day's key: its tombstone where it is destroyed, and how many rows of each table hang on it."""

    day: date
    tombstone: Tombstone | None
    rows: Mapping[str, int]


class KeyLife:
    """The keys of one store, as their owner.

    Args:
        settings: where the store is, and who holds the customer-managed key.
        who: does it; kept in audit log and tombstones.
        why: kept in the audit log.
        older: of KMS, keys that the configured one takes the place of.

    Raises (every method): KeyUnavailable where store or key cannot say, and KeyForbidden of those where the policy does
    not let this identity; AuditUnavailable, and then nothing was done.
    """

    def __init__(
        self,
        settings: Settings,
        who: str,
        why: str,
        *,
        older: tuple[str, ...] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        objects = key_objects(settings)
        self._customer = customer_key(settings, objects, now, older)
        self._records = KeyRecords(objects, self._customer, now)
        self._rights = key_rights(settings)
        self._audit = settings.audit_log
        self._said = {"who": who, "why": why}
        self.who = who
        self._wait = wait

    def note(self, event: str, **facts: str) -> None:
        """Say in the audit log what is about to be done, by whom and why; whoever may not do it is refused before."""
        self._rights.require("DESTROY")
        audited(self._audit, event, **facts, **self._said)

    def customer(self) -> Cmk:
        """The customer-managed key as it stands."""
        return self._customer.describe()

    def days(self, lake: Lake) -> list[DayOfKeys]:
        """Every day that has a key or its tombstone, with the rows that the tables have of it."""
        rows = rows_by_day(lake)
        return [DayOfKeys(day, self._records.day_tombstone(day), rows.get(day, {})) for day in self._records.days()]

    def living(self) -> list[date]:
        """Days whose key lives, sorted."""
        return [day for day in self._records.days() if self._records.day_tombstone(day) is None]

    def is_destroyed(self, day: date) -> bool:
        """Whether the day has a tombstone."""
        return self._records.day_tombstone(day) is not None

    def holds(self) -> dict[date, Hold]:
        """Days that no purge touches."""
        return self._records.holds.days()

    def hold(self, day: date) -> bool:
        """Keep a day beyond its time, whatever purges come; False where it is held already."""
        self.note("keys hold", day=day.isoformat())
        return self._records.holds.hold(day, self.who, self._said["why"])

    def release(self, day: date) -> None:
        """Let a day go again: the next purge takes it, if it is over."""
        self.note("keys release", day=day.isoformat())
        self._records.holds.release(day)

    def held_keys(self) -> list[HeldKey]:
        """Data keys of uploaders that no purge touches, by day and name."""
        return self._records.holds.held()

    def hold_uploader(self, name: str, keys: KeyStore) -> list[date]:
        """Keep what an uploader sent on the days that live beyond its time. Returns the days that are held by it.

        What comes from the uploader under a key of a later day is not held: it is asked for again. The audit log has
        the days and not the name, for it outlives the hold.

        Args:
            name: as the token has it.
            keys: the same store; opens the keys that are kept.
        """
        found = [one for day in self.living() for one in keys.key_names(day, keys.pseudonym(name, day))]
        days = sorted({KeyName.parse(one).day for one in found})
        self.note("keys hold uploader", days=", ".join(map(str, days)) or "none")
        held = set()
        for one in found:
            with suppress(KeyDestroyed):  # erased: nothing is left of it to keep
                self._records.holds.keep(keys.open_key(one), self.who, self._said["why"])
                held.add(KeyName.parse(one).day)
        return sorted(held)

    def release_uploader(self, name: str, keys: KeyStore) -> list[date]:
        """Let an uploader go again: of days that are destroyed it is dark at once, and the next purge takes the rows.

        Returns the days.
        """
        found = self.held_of(name, keys)
        self.note("keys release uploader", days=", ".join(str(one.day) for one in found) or "none")
        for one in found:
            self._records.holds.let_go(one.key)
        return sorted({one.day for one in found})

    def held_of(self, name: str, keys: KeyStore) -> list[HeldKey]:
        """The holds of an uploader, by day."""
        held = self.held_keys()
        whose = {day: keys.pseudonym(name, day) for day in {one.day for one in held}}
        return [one for one in held if one.key.pseudonym == whose[one.day]]

    def rotate(self) -> Iterator[str]:
        """Wrap with a new customer-managed key from now on, and what older ones wrapped as well; then erase those.

        Stopped in between, all opens still; the next call makes no third key, but finishes.

        Yields:
            The name of each key that was wrapped anew.
        """
        self.note("keys rotate", cmk=self.customer().id)
        if not self.customer().older:
            self._customer.rotate()
        left = True
        while left:
            left = False
            for name, anew in self._records.rewrap():
                if anew:
                    left = True
                    yield name
            # Who made a day's key just now may have wrapped it with the older one, and is to be seen by the next look.
            self._wait(SETTLE_SECONDS)
        self._customer.forget_older()

    def disable(self) -> Cmk:
        """Switch the customer-managed key off: nothing is opened or sealed, once the caches have aged out."""
        self.note("keys disable", cmk=self.customer().id)
        self._customer.set_state("disabled")
        return self.customer()

    def enable(self) -> Cmk:
        """Switch it on again; a pending deletion is taken back."""
        self.note("keys enable", cmk=self.customer().id)
        self._customer.set_state("enabled")
        return self.customer()

    def destroy_day(self, day: date) -> Tombstone:
        """Destroy a day's key: its images are dark, but those of uploaders that are held; and it takes no new one."""
        self.note("keys destroy", day=day.isoformat())
        return self._records.destroy_day(day, self.who)

    def destroy_held(self, day: date) -> int:
        """Make dark what was held of a day's uploaders, too. Returns how many keys."""
        found = [one.key for one in self.held_keys() if one.day == day]
        self.note("keys destroy held", day=day.isoformat())
        for key in found:
            self._records.holds.let_go(key)
        return len(found)

    def clear_days(self) -> int:
        """Remove what lies under the keys of destroyed days, and opens nothing any more. Returns how many objects."""
        self._rights.require("DESTROY")
        return self._records.clear_days()

    def destroy_all(self, days: int) -> Cmk:
        """Have the customer-managed key deleted when so many days have passed: then every image is dark."""
        self.note("keys destroy-all", cmk=self.customer().id, days=str(days))
        return self._customer.schedule_deletion(days, self.who)


def rows_by_day(lake: Lake) -> dict[date, dict[str, int]]:
    """Rows of each table that holds images or what is of a person, by day; from the logs alone.

    Raises:
        LakeUnavailable: a table cannot be read.
    """
    from resources.lake import TableMissing
    from resources.lake_log import files_of

    found: dict[date, dict[str, int]] = {}
    for spec in PURGED:
        try:
            files = files_of(lake.open(spec.name))
        except TableMissing:
            continue
        for file in files:
            counts = found.setdefault(file["partition.day"], {})
            counts[spec.name] = counts.get(spec.name, 0) + int(file["num_records"] or 0)
    return found
