"""A valid GraphQL document for each mutation of the installed Dagster, with arguments that name nothing there is."""

from __future__ import annotations

from typing import Any

from dagster_graphql.schema import create_schema
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
)

NOTHING = "nothing-of-this-name"
SCALARS = {"Boolean": "false", "Int": "1", "Float": "1.0", "RunConfigData": "{}", "JSONString": '"{}"'}


def documents(schema: GraphQLSchema | None = None) -> dict[str, str]:
    """By the mutation's name."""
    found = schema or create_schema().graphql_schema
    assert found.mutation_type is not None
    made = {}
    for name, field in found.mutation_type.fields.items():
        required = {key: one.type for key, one in field.args.items() if isinstance(one.type, GraphQLNonNull)}
        arguments = ", ".join(f"{key}: {_value(kind)}" for key, kind in required.items())
        call = f"{name}({arguments})" if arguments else name
        chosen = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
        made[name] = f"mutation {{ {call}{chosen} }}"
    return made


def _value(kind: Any) -> str:
    if isinstance(kind, GraphQLNonNull):
        return _value(kind.of_type)
    if isinstance(kind, GraphQLList):
        return "[]"
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        inside = {key: one.type for key, one in kind.fields.items() if isinstance(one.type, GraphQLNonNull)}
        return "{" + ", ".join(f"{key}: {_value(one)}" for key, one in inside.items()) + "}"
    return SCALARS.get(kind.name, f'"{NOTHING}"')
