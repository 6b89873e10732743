"""Compiles the policy for Databricks: grants of Unity Catalog, permissions of a workspace, and its groups. Pure.

The groups have to be there under the directory's names: an identity provider sends them by SCIM (RFC 7643), and
`scim_groups` says which. Limit: it has run against no workspace; deploy/databricks is compared with it.
"""

from __future__ import annotations

from typing import Any, get_args

from access.policy import CatalogKind, Policy

SCIM_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"


def databricks_rights(policy: Policy) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The entries of people for each resource of the bundle, by kind and name, as its `grants` or `permissions`."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for group, said in policy.groups.items():
        for right in said.databricks:
            if right.kind in get_args(CatalogKind):
                entry: dict[str, Any] = {"principal": group, "privileges": list(right.allow)}
            else:
                entry = {"group_name": group, "level": right.allow[0]}
            found.setdefault((right.kind, right.name), []).append(entry)
    return found


def scim_groups(policy: Policy) -> list[dict[str, Any]]:
    """The groups that must be there, as SCIM 2.0 has them; their members come from the directory."""
    names = [group for group, said in policy.groups.items() if said.databricks]
    return [{"schemas": [SCIM_GROUP], "displayName": name} for name in names]
