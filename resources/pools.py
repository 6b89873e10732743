"""The names of Dagster's pools: one a table, one a model, one of the policy, one of the purge.

Whoever writes it holds a slot of it. Here and not beside the assets, so that the stack can make every pool before the
first run without loading them.
"""

from __future__ import annotations

from transforms.families import FAMILIES
from transforms.recognition import Family
from transforms.tables import PROCESSED_IMAGES, QUARANTINED_IMAGES, TABLES, TableSpec

POLICY_POOL = "access/access_policy"
"""Of whoever applies the policy."""
RETENTION_POOL = "upkeep/retention"
"""Of whoever purges."""
_WRITTEN_TOGETHER = {QUARANTINED_IMAGES.name: PROCESSED_IMAGES.name}
"""Developing and replay write both tables in one step, which can hold one pool."""


def pool(spec: TableSpec) -> str:
    """The pool of a table."""
    return _WRITTEN_TOGETHER.get(spec.name, spec.name)


def model_pool(family: Family) -> str:
    """The pool of a family's model: whoever registers one, or moves an alias, holds a slot of it."""
    return f"recognition/{family.name}"


def every_pool() -> frozenset[str]:
    """The names of all pools."""
    return frozenset({*map(pool, TABLES), *map(model_pool, FAMILIES), POLICY_POOL, RETENTION_POOL})
