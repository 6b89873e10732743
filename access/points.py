"""The points where the policy is enforced and can be compared with what stands there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

PointName = Literal["postgres", "logins", "kafka", "gateway", "dagster"]
POINTS: Mapping[PointName, str] = {
    "postgres": "Roles, rights and session settings in PostgreSQL are those of the policy, and no others.",
    "logins": "Logins of people in PostgreSQL are those of the directory, in its groups.",
    "kafka": "Access rules at Kafka, of services and of people, are those of the policy and the directory.",
    "gateway": "The gateway runs with this policy.",
    "dagster": "Dagster's web servers run with this policy.",
}
"""What is compared at each, in the order in which it is applied."""
