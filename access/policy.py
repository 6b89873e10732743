"""The model of the one policy: what policy.yaml may say, and nothing more.

A service identity is the common name of its certificate. The model refuses what it does not know, so that a slip of the
pen is an error and never a right that is silently missing or granted.
"""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

KafkaOperation = Literal["READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"]
PostgresRight = Literal["SELECT", "INSERT", "UPDATE", "DELETE"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class PolicyError(Exception):
    """The policy says something that cannot be; the message says where and what would be valid."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaRight(_Model):
    """Operations on one topic, on every consumer group whose name begins with a prefix, or on every group at all."""

    topic: str | None = None
    group_prefix: str | None = None
    every_group: Literal[True] | None = None
    allow: tuple[KafkaOperation, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_resource(self) -> KafkaRight:
        named = [one for one in (self.topic, self.group_prefix, self.every_group) if one is not None]
        if len(named) != 1:
            raise ValueError("names exactly one of: topic, group_prefix, every_group")
        if "" in named:
            raise ValueError("an empty name would mean every one; of groups, `every_group: true` says so")
        return self


class TableRight(_Model):
    """Rights on one table of the platform's database."""

    schema_name: Name = Field(alias="schema")
    table: Name
    allow: tuple[PostgresRight, ...] = Field(min_length=1)


class Identity(_Model):
    """One service or person's tool, by certificate."""

    note: str
    kafka_super_user: bool = False
    kafka: tuple[KafkaRight, ...] = ()
    postgres: tuple[TableRight, ...] = ()


class Policy(_Model):
    """The whole policy."""

    identities: dict[Name, Identity]


def parse_policy(text: str) -> Policy:
    """The policy that a YAML text says.

    Raises:
        PolicyError: not YAML, or not a policy; every fault with its place.
    """
    try:
        return Policy.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise PolicyError(f"The policy is no YAML: {error}") from None
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        ]
        raise PolicyError("The policy is refused:\n" + "\n".join(faults)) from None


def load_policy() -> Policy:
    """The policy that this distribution carries."""
    return parse_policy(resources.files("access").joinpath("policy.yaml").read_text(encoding="utf-8"))
