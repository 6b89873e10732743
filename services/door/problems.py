"""Why a door says no: the closed list of problems, each with its HTTP status and title (RFC 9457).

Doors of other protocols send the same kind, title and detail in their own frames. A problem's detail is for the asker;
what only the operator may know goes to `log`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

PREFIX = "urn:darkroom:problem:"
"""Problem types are URNs: stable names that promise no page behind them."""


@dataclass(frozen=True)
class _About:
    status: int
    title: str


class Kind(Enum):
    """A kind of problem; its name in lower case ends the problem's `type`."""

    EMPTY = _About(400, "There is no image in the request")
    BAD_PARAMETER = _About(400, "A header or field has a value that cannot be")
    MALFORMED = _About(400, "The request's body cannot be read")
    UNAUTHENTICATED = _About(401, "A valid bearer token is required")
    WRONG_CREDENTIALS = _About(401, "The name or the password is wrong")
    FORBIDDEN = _About(403, "Your groups do not allow this")
    SIGN_IN_ELSEWHERE = _About(403, "People sign in at an OpenID provider")
    FOREIGN_PAGE = _About(403, "The request comes from another site's page")
    TOO_MANY_GROUPS = _About(403, "Nobody can say what somebody in so many groups may do")
    NOT_FOUND = _About(404, "There is no such thing, or it is not yours")
    METHOD_NOT_ALLOWED = _About(405, "This address does not take this method")
    TOO_SLOW = _About(408, "The body did not arrive in time")
    DAY_DESTROYED = _About(410, "The keys of that day were destroyed")
    KEY_DESTROYED = _About(410, "The image's key was destroyed")
    TOO_LARGE = _About(413, "The image is too large")
    BODY_TOO_LARGE = _About(413, "The request's body is too large")
    TOO_MANY_FILES = _About(413, "The request holds too many files")
    NOT_AN_IMAGE = _About(415, "The bytes are no image")
    UNSUPPORTED_FORMAT = _About(415, "The image's format is not taken")
    TOO_MANY_ATTEMPTS = _About(429, "Too many attempts were wrong")
    INTERNAL = _About(500, "The service failed")
    KAFKA_AWAY = _About(503, "Kafka did not acknowledge it")
    KEYS_AWAY = _About(503, "The key store does not answer")
    TOKENS_AWAY = _About(503, "Tokens cannot be verified now")
    DIRECTORY_AWAY = _About(503, "The directory does not answer")
    PROVIDER_AWAY = _About(503, "The OpenID provider does not answer")
    SESSIONS_AWAY = _About(503, "Sessions cannot be looked up now")
    STATUS_AWAY = _About(503, "The state of images cannot be asked now")
    BUSY = _About(503, "The service has its hands full")

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.value.status

    @property
    def title(self) -> str:
        """The same for every problem of this kind."""
        return self.value.title

    @property
    def code(self) -> str:
        """Name of the kind as it is sent and counted."""
        return self.name.lower()


class Problem(Exception):
    """A refusal, ready to be rendered.

    Args:
        kind: which problem.
        detail: what was found in this request and what to do, for the asker.
        retry_after: seconds after which to try again; None where trying again is of no use.
        log: what the operator needs and the asker must not learn; no name, label or id of a person.
    """

    def __init__(self, kind: Kind, detail: str, *, retry_after: int | None = None, log: str | None = None) -> None:
        super().__init__(f"{kind.code}: {detail}")
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after
        self.log = log

    def document(self, instance: str | None = None) -> dict[str, Any]:
        """The problem as RFC 9457 names its members; `instance` names this one occurrence."""
        found: dict[str, Any] = {
            "type": PREFIX + self.kind.code,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.retry_after is not None:
            found["retry_after"] = self.retry_after
        if instance is not None:
            found["instance"] = instance
        return found
