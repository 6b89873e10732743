"""What was found and is mended, by a search or by whoever wrote its target: what it did, and the input that did it."""

from __future__ import annotations

import json

from tests.fuzz import seeds
from tests.fuzz.harness import joined

_TOLD = json.dumps({"id_token": "a.b.c"}).encode()

FOUND: dict[str, list[tuple[str, bytes]]] = {
    "message": [
        (
            "UnicodeEncodeError where the training set took the label",
            b'{"label":"\\ud800","corrected_at":"2026-11-23T12:30:15.0Z"}',
        ),
        ("UnicodeEncodeError in the answer's row", seeds.messages()[1].replace(b'"7"', b'"\\ud800"')),
    ],
    "policy": [
        ("IndexError of YAML's reader", b"a: !!int"),
        ("IndexError of YAML's reader", b"a: !!float"),
        ("KeyError of YAML's reader", b"a: !!bool maybe"),
        ("AttributeError of YAML's reader", b"a: !!timestamp today"),
        ("OverflowError of YAML's reader", b"a: " + b"1:" * 300 + b"1.0"),
        ("OverflowError of YAML's scanner", b'"\\UFFFFFFFF"'),
        ("no digest, for want of half a character", b'identities: {a: {note: "\\uD800"}}'),
    ],
    "upload": [
        ("FormParserError, a 500", joined(b"multipart/form-data; boundary=" + b"b" * 300, b"", b"")),
    ],
    "signin": [
        ("RecursionError in the cookie", b"[" * 3000),
        ("a state that cannot be compared", b'{"state":"\\ud800","nonce":"n","verifier":"v","goal":"/"}'),
    ],
    "provider": [
        (
            "InvalidURL out of the client",
            joined(seeds.DESCRIPTION.replace(b"test/token", b".:test/token"), b"", b"", b"", _TOLD),
        ),
        (
            "ValueError of urlsplit",
            joined(seeds.DESCRIPTION.replace(b"https://issuer.test/token", b"https://["), b"", b"", b"", _TOLD),
        ),
        ("AttributeError: an answer that is a list", joined(b"", b"", b"", b"", b"[]")),
        ("UnicodeEncodeError in PyJWT", joined(b"", b"", b"", b"", b'{"id_token": "\\ud800"}')),
        ("RecursionError in an answer", joined(b"", b"", b"", b"", b"[" * 3000)),
    ],
}
"""Some inputs are what a finding was cut down to, and some stand for a finding's whole kind."""
