"""What was found and is mended, by a search or by whoever wrote its target: what it did, and the input that did it."""

from __future__ import annotations

import json

from tests.fuzz import seeds
from tests.fuzz.harness import joined

_TOLD = json.dumps({"id_token": "a.b.c"}).encode()

FOUND: dict[str, list[tuple[str, bytes]]] = {
    "image": [
        (
            "a fax (group 4) with a code that is none: the rest of the picture was what memory held, each time another",
            b"II*\x00V\x00\x00\x00&\xb9\xb4b.\x82Z\t\x02(p\x81;v\x12I \x83\xa0D"
            b"~\xc2ds\x8d\x04\t\xb0\x99\x1d\x11\xcc \xb8aj\xc2Q\x88V\x10*\x08+\x08\x11\x1f\x08"
            b" \xa2\xc2\xf6),\x10&\x9c\x18@\x08\x93\xa4\x87\x12T\x10V\t'\xf5v\xd8Am(\x00"
            b"\x80\x08\t\x00\x00\x01\x03\x00\x01\x00\x00\x00\x14\x00\x00\x00\x01\x01\x03\x00\x01\x00\x00\x00\x0c\x00\x00\x00"
            b"\x02\x01\x03\x00\x01\x00\x00\x00\x01\x00\x00\x00\x03\x01\x03\x00\x01\x00\x00\x00\x04\x00\x00\x00\x06\x01\x03\x00"
            b"\x01\x00\x00\x00\x01\x00\x00\x00\x11\x01\x04\x00\x01\x00\x00\x00\x08\x00\x00\x00\x16\x01\x03\x00\x01\x00\x00\x00"
            b"\x0c\x00\x00\x00\x17\x01\x04\x00\x01\x00\x00\x00N\x00\x00\x00\x1c\x01\x03\x00\x01\x00\x00\x00\x01\x00\x00\x00"
            b"\x00\x00\x00\x00",
        ),
    ],
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
