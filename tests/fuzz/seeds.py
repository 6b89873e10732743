"""What the search begins with: valid inputs, made here out of vectors, writers and the shipped policy."""

from __future__ import annotations

import base64
import io
import json
from datetime import UTC, date, datetime
from hashlib import sha256
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import yaml

from resources.openid import Challenge
from tests.fuzz.harness import joined
from transforms.envelope import Clear, Metadata
from transforms.names import DataKey

VECTORS = Path(__file__).parent.parent / "vectors"
DAY = date(2026, 11, 23)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ID = "a" * 26
KEY = DataKey(f"{DAY}_{'b' * 16}_{'c' * 13}", b"k" * 32)
NONCE = b"twelve bytes"
SECRET = bytes(range(32))

KID = "kid"
ISSUER = "https://issuer.test"
AUDIENCE = "darkroom-test"
TOKEN_HEADER = json.dumps({"alg": "ES256", "kid": KID, "typ": "JWT"}).encode()
PROVIDER_SETTINGS = SimpleNamespace(
    openid_issuer=ISSUER, openid_client_id=AUDIENCE, openid_credentials=None, openid_name_claim="name"
)
DESCRIPTION = json.dumps(
    {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "jwks_uri": f"{ISSUER}/keys",
    }
).encode()
CHALLENGE = Challenge("state", "nonce", "verifier", "/page")
_TIMES = {"iat": 1_700_000_000, "exp": 4_000_000_000}


def url64(data: bytes) -> str:
    """URL-safe base64 without padding, as tokens and cookies have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def headers_in(data: bytes) -> list[tuple[str, bytes | None]]:
    """Headers as an input writes them: one a line, name=value; a line without = is a header without a value."""
    found: list[tuple[str, bytes | None]] = []
    for line in data.split(b"\n") if data else []:
        name, equals, value = line.partition(b"=")
        found.append((name.decode("utf-8", "replace"), value if equals else None))
    return found


def _lines(headers: list[tuple[str, bytes]]) -> bytes:
    return b"\n".join(name.encode() + b"=" + value for name, value in headers)


def _vectors() -> list[dict[str, object]]:
    return json.loads((VECTORS / "envelope.json").read_text())["records"]


def headers() -> list[bytes]:
    """The headers of a sealed record, and of one that came unsealed."""
    sealed = Clear("1", ID, DAY, KEY.name, "uploads").headers()
    return [_lines(sealed), _lines([*sealed, ("traceparent", b"\xff")]), b"label=7\nsha256=" + b"0" * 64]


def plain_envelopes() -> list[bytes]:
    """What stands inside the vectors' sealed values: length, metadata, image."""
    found = []
    for one in _vectors():
        packed = bytes.fromhex(str(one["metadata_bytes"]))
        found.append(len(packed).to_bytes(4, "big") + packed + bytes.fromhex(str(one["image"])))
    return found


def messages() -> list[bytes]:
    """What stands inside a correction and an answer."""
    correction = {"label": "sieben", "corrected_at": "2026-11-23T12:30:15.123456Z"}
    answer = {"model": "digits", "model_version": "3@ab", "label": "7", "probability": 0.5, "topic": "images.raw"}
    answer |= {"scored_at": "2026-11-23T12:30:15.123456Z", "topic_id": "T" * 22, "partition": 2, "offset": 41}
    return [json.dumps(one).encode() for one in (correction, answer, correction | answer)]


def records() -> list[bytes]:
    """Records on the topic: time, key, value, headers; sealed, unsealed, a tombstone, and of other days."""
    from transforms.envelope import seal

    stamp = int(NOON.timestamp() * 1000).to_bytes(8, "big")
    digest = sha256(b"an image").hexdigest()
    said = Metadata(digest, "image/png", "7", "alice", ("photographers",), "seven.png", NOON)
    clear, value = seal(said, b"an image", id=ID, day=DAY, key=KEY, via="uploads", nonce=NONCE)
    plain = b"id=" + b"z" * 26 + b"\ncontent-type=image/png\nlabel=seven\nsha256="
    return [
        joined(stamp, ID.encode(), value, _lines(clear)),
        joined(stamp, b"", b"an image", plain + digest.encode()),
        joined(stamp, b"key", b"none", b"label"),
        joined(b"\x7f" * 8, b"key", b"", b"day=2026-11-24"),
        joined(b"\x80" + b"\0" * 7, b"key", b"image", b"day=1969-12-31\nday=2026-11-23"),
    ]


def images() -> list[bytes]:
    """One image of each format and of the modes that are decoded each in their own way; all small."""
    import numpy as np
    from PIL import Image

    colour = Image.effect_noise((20, 12), 90).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    ways: list[tuple[Image.Image, str, dict[str, object]]] = [
        (colour, "PNG", {}),
        (colour.convert("P"), "PNG", {"transparency": 0}),
        (colour.convert("LA"), "PNG", {}),
        (Image.fromarray(np.arange(240, dtype=np.uint16).reshape(12, 20) * 273), "PNG", {}),
        (colour.convert("1"), "PNG", {}),
        (colour, "JPEG", {"exif": turned, "quality": 40}),
        (colour.convert("L"), "JPEG", {"progressive": True, "quality": 40}),
        (colour.convert("CMYK"), "JPEG", {"quality": 40}),
        (colour, "GIF", {"save_all": True, "append_images": [colour.transpose(Image.Transpose.ROTATE_180)]}),
        (colour, "WEBP", {"quality": 30}),
        (colour.convert("RGBA"), "WEBP", {"lossless": True}),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        (colour, "TIFF", {"compression": "tiff_adobe_deflate", "exif": turned}),
        (colour.convert("F"), "TIFF", {}),
        (colour.convert("1"), "TIFF", {"compression": "tiff_ccitt"}),
        (colour.convert("1"), "TIFF", {"compression": "group3"}),
        (colour, "TIFF", {"compression": "jpeg"}),
        (colour, "TIFF", {"compression": "packbits"}),
        (colour, "TIFF", {"compression": "zstd"}),
        (colour, "BMP", {}),
        (colour.convert("P"), "BMP", {}),
    ]
    found = []
    for picture, form, how in ways:
        made = io.BytesIO()
        picture.save(made, form, **how)
        found.append(made.getvalue())
    return [*found, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"P5 2 2 255 abcd", b"%PDF-1.7"]


def shop_files() -> list[bytes]:
    """The head and the first rows of each file of the shop."""
    from transforms.shop_rows import FILES

    rows = {
        "items": 'i1,"Lens, wide",Acme,12.50,0.250,2025-01-31T12:00:00Z,\ni2,"""x""",Acme,0,0,20250131T12Z,',
        "members": "m1,active,2025-01-31",
        "member_contacts": "m1,Ada,ada@example.test",
        "sales": "s1,m1,2025-01-31T12:00:00+01:00,open,12.50,\ns2,m1,2025-01-31T12:00:00Z,packed,,1.250",
        "sales_details": "s1,i1,2,12.50,\ns1,i2,1,,2025-01-31T12:00:00Z",
    }
    return [
        joined(bytes([at]), f"{','.join(file.names)}\n{rows[file.table]}\n".encode()) for at, file in enumerate(FILES)
    ]


def policies() -> list[bytes]:
    """The shipped policy, one name at a time, for the whole takes long to read; and YAML's own ways of writing."""
    text = resources.files("access").joinpath("policy.yaml").read_text(encoding="utf-8")
    whole = yaml.safe_load(text)
    groups = {name: {"note": "people"} for name in whole["groups"]}
    parts = [{"identities": {name: body}} for name, body in whole["identities"].items()]
    parts += [{"identities": {}, "groups": {name: body}} for name, body in whole["groups"].items()]
    parts += [{"identities": {}, "groups": groups, "routes": [one]} for one in whole["routes"][::4]]
    ways = (
        b"identities:\n  a: &a {note: ! 'x', keys: [OPEN]}\n  b: {<<: *a, note: !!str 1}\n  ? c\n  : note: >-\n     x\n"
    )
    return [*(yaml.safe_dump(one, sort_keys=False).encode() for one in parts), ways]


def frames() -> list[bytes]:
    """Metadata of an image on the stream."""
    said = {"label": "7", "filename": "a/seven.png", "uploaded_at": "2026-11-23T11:59:59.5+01:00", "sha256": "0" * 64}
    return [b'{"seq": 4}', json.dumps({"seq": 5, **said}).encode()]


def forms() -> list[bytes]:
    """Multipart uploads: Content-Type, Content-Length, body."""
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nX-Label: 7\r\n'
    body = part + b"X-Uploaded-At: 2026-11-23T11:59:59Z\r\n\r\nimage\r\n"
    field = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n'
    large = part + b"\r\n" + b"i" * 1100 + b"\r\n"
    return [
        joined(b"multipart/form-data; boundary=b", b"", body + b"--b--\r\n"),
        joined(b'multipart/form-data; boundary="b"', b"200", field + body + body + b"--b--\r\n"),
        joined(b"multipart/form-data; boundary=b; charset=utf-8", b"", large + body + b"--b--\r\n"),
    ]


def labels() -> list[bytes]:
    """Bodies that put a label right."""
    return [b'{"label": "7"}', '{"label": "\\u0073ieben \N{SNOWMAN}"}'.encode()]


def sign_ins() -> list[bytes]:
    """A form, JSON, HTTP Basic and a cookie."""
    said = {"name": "alice", "password": "a word"}
    return [
        urlencode({**said, "next": "/dagster/?a=b", "grant_type": "client_credentials"}).encode(),
        json.dumps(said).encode(),
        base64.b64encode(b"machine:secret"),
        b"Basic " + base64.b64encode(b"machine:secret"),
        json.dumps(vars(CHALLENGE)).encode(),
        CHALLENGE.text().encode(),
    ]


def tokens() -> list[bytes]:
    """An Authorization header; and header and claims of a token, to be signed."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "groups": ["photographers"], **_TIMES}
    return [
        b"Bearer " + f"{url64(TOKEN_HEADER)}.{url64(json.dumps(claims).encode())}.AAAA".encode(),
        joined(TOKEN_HEADER, json.dumps(claims).encode()),
        joined(TOKEN_HEADER, json.dumps({**claims, "aud": [AUDIENCE], "nbf": 1.5, "exp": 4e9}).encode()),
    ]


def providers() -> list[bytes]:
    """An OpenID provider's description, keys, an ID token's header and claims, and a whole answer."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "1", "nonce": "nonce", "name": "alice", **_TIMES}
    token, several = (
        json.dumps(claims).encode(),
        json.dumps({**claims, "aud": [AUDIENCE, "b"], "azp": AUDIENCE}).encode(),
    )
    none = json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": KID}]}).encode()
    return [
        joined(DESCRIPTION, none, TOKEN_HEADER, token, b""),
        joined(DESCRIPTION, b'{"keys": []}', TOKEN_HEADER, several, b""),
        joined(DESCRIPTION, none, TOKEN_HEADER, token, b'{"id_token": "a.b.c"}'),
    ]
