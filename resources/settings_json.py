"""How a setting of several values is read: as JSON in the environment, and the same where it is an argument."""

from __future__ import annotations

import json

from pydantic import BeforeValidator


def _from_json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


FROM_JSON = BeforeValidator(_from_json)
"""Of an annotated setting: text is JSON."""
