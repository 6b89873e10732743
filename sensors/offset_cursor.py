"""What the Kafka sensor remembers between ticks, as JSON with a version.

Dagster stores a sensor's cursor as one string and hands it to whatever release runs next, newer or older. So every
shape that was ever written still loads, an unknown one counts as the first tick, and loading never raises: a sensor
that cannot read its cursor would stand still for ever. Nothing here decides what is landed; the lake's identifiers
do. A lost cursor costs one observation and one back-off, never a record.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

VERSION = 1


@dataclass(frozen=True)
class OffsetCursor:
    """The sensor's memory.

    Attributes:
        topic_id: Kafka's id of the topic that the watermarks are of.
        watermarks: high watermark by partition, as last observed in Dagster.
        observed_at: when they were, in Unix seconds; 0 for never.
        failures: failed runs in a row at `stuck_at`.
        judged: id of the newest run whose end was counted.
        stuck_at: fingerprint of the identifiers when it failed: once they move, the back-off is over.
        retry_at: not before then a run is asked for again, in Unix seconds.
    """

    topic_id: str = ""
    watermarks: Mapping[int, int] = field(default_factory=dict)
    observed_at: float = 0.0
    failures: int = 0
    judged: str = ""
    stuck_at: str = ""
    retry_at: float = 0.0

    def dumps(self) -> str:
        """The cursor as stored."""
        body = asdict(self) | {"version": VERSION, "watermarks": {str(p): high for p, high in self.watermarks.items()}}
        return json.dumps(body, sort_keys=True, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str | None) -> "OffsetCursor":
        """Read a cursor of any release; what cannot be understood is left at its default."""
        try:
            body = json.loads(text or "{}")
        except ValueError:
            return cls()
        if not isinstance(body, dict):
            return cls()
        if "version" not in body:
            # Before versions a cursor was the bare watermarks, or those under "watermarks" or the topic's name.
            nested = [value for value in body.values() if isinstance(value, dict)]
            return cls(watermarks=_watermarks(nested[0] if nested else body))
        return cls(
            topic_id=_as(str, body.get("topic_id"), ""),
            watermarks=_watermarks(body.get("watermarks")),
            observed_at=_number(body.get("observed_at")),
            failures=max(0, int(_number(body.get("failures")))),
            judged=_as(str, body.get("judged"), ""),
            stuck_at=_as(str, body.get("stuck_at"), ""),
            retry_at=_number(body.get("retry_at")),
        )


def _as(kind: type, value: Any, default: Any) -> Any:
    return value if isinstance(value, kind) else default


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        return 0.0
    return float(value)


def _watermarks(value: Any) -> dict[int, int]:
    """Partition to high watermark; a pair is (low, high); anything else is left out."""
    found: dict[int, int] = {}
    for partition, high in value.items() if isinstance(value, dict) else ():
        last = high[-1] if isinstance(high, list) and high else high
        if str(partition).isdecimal() and isinstance(last, int) and not isinstance(last, bool):
            found[int(partition)] = last
    return found
