"""The policy's text as YAML, read strictly: what PyYAML's reader passes over, or fails at without a word, is refused.

Why: a slip of the pen must be an error, with its place, and never a right that is silently missing. A name stands once
in a map: of two, the reader takes the last and says nothing. A value that its tag cannot have (`!!int` of nothing,
`!!bool` of another word, a day that does not exist) is an error of any type there. Half a surrogate pair, which
`"\\ud800"` spells, is text that nothing else can hold. Pure.
"""

from __future__ import annotations

from typing import Any

import yaml


class NotYaml(Exception):
    """A text that is no YAML, or none that can be meant; says where and why."""


class _Loader(yaml.SafeLoader):
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return super().construct_object(node, deep)
        try:
            node.value.encode()
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError):
            raise _refused("reading a value", f"{node.value[:64]!a} is no {node.tag!a}", node, node) from None

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # As it was written: before `<<` brings names that may be said anew.
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _refused("in a map", f"the name {key.value[:64]!a} stands twice", node, key)
                seen.add((key.tag, key.value))
        return node


def _refused(doing: str, why: str, around: yaml.Node, at: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(doing, around.start_mark, why, at.start_mark)


def read_yaml(text: str) -> Any:
    """What a YAML text says, in plain values.

    Raises:
        NotYaml: it says nothing that can be read.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError) as error:
        # Beside its own errors: characters that cannot be (`"\\UFFFFFFFF"`), brackets by the thousand.
        raise NotYaml(str(error)) from None
