"""The page where a person signs in: one form, no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode, urlsplit

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { display: grid; place-items: center; min-height: 90vh; margin: 0; }
main { width: min(22rem, 90vw); }
h1 { font-size: 1.4rem; }
label { display: block; margin-top: .8rem; }
input { box-sizing: border-box; width: 100%; padding: .5rem; font: inherit; }
button { margin-top: 1.2rem; padding: .5rem 1.2rem; font: inherit; }
.wrong { color: #b00020; }
@media (prefers-color-scheme: dark) { .wrong { color: #ff8a80; } }
"""
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'"
)
"""Content-Security-Policy of the page: its own style, by hash, and nothing else."""


def sign_in_page(goal: str, wrong: str = "", name: str = "") -> str:
    """The form; after it the browser goes to `goal`. `wrong`: why the last try did not succeed."""
    said = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    return _page(
        "Sign in",
        f"""{said}<form method="post" action="/signin">
<input type="hidden" name="next" value="{escape(goal)}">
<label for="name">Name</label>
<input id="name" name="name" autocomplete="username" required autofocus maxlength="256" value="{escape(name)}">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required maxlength="1024">
<button type="submit">Sign in</button>
</form>""",
    )


def provider_page(goal: str, provider: str, wrong: str = "") -> str:
    """The way to a provider that proves who somebody is; after it the browser goes to `goal`."""
    said = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    to = f"/signin/openid?{urlencode({'next': goal})}"
    return _page("Sign in", f'''{said}<p><a href="{escape(to)}">Sign in at {escape(provider)}</a></p>''')


def signed_in_page(name: str, groups: tuple[str, ...], pages: Mapping[str, str]) -> str:
    """Who is signed in, the pages that they may open (address by name), and the way out."""
    of = f"in {escape(', '.join(groups))}" if groups else "in no group, and may do nothing here"
    links = "".join(f'<li><a href="{escape(to)}">{escape(label)}</a></li>' for label, to in pages.items())
    return _page(
        "Signed in",
        f"""<p>You are <strong>{escape(name)}</strong>, {of}.</p>
{f"<ul>{links}</ul>" if links else ""}
<form method="post" action="/signout"><button type="submit">Sign out</button></form>""",
    )


def local_goal(asked: str | None) -> str:
    """Where to go after signing in: a path of this site, whatever was asked for."""
    if not asked or not asked.isascii() or not asked.isprintable() or not asked.startswith("/"):
        return "/"
    # Browsers take //HOST and /\\HOST for another site.
    if asked.startswith(("//", "/\\")) or "\\" in asked or urlsplit(asked).netloc:
        return "/"
    return asked


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Darkroom</title><style>{STYLE}</style></head>
<body><main><h1>Darkroom</h1>{body}</main></body></html>
"""
