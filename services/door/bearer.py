"""Who asks, at every door: the signed bearer token, and nothing else."""

from __future__ import annotations

from typing import Protocol

from access.tokens import JwksUnavailable, Proof, TokenRefused
from services.door.problems import Kind, Problem

HOW_TO_ASK = "Send a token of the issuer as `Authorization: Bearer <token>`."


class Verifier(Protocol):
    """The edge to the tokens (access.tokens.TokenVerifier)."""

    def judge(self, token: str) -> Proof:
        """Who a token speaks for, and until when; raises TokenRefused, JwksUnavailable."""
        ...

    def ready(self) -> None:
        """Raise JwksUnavailable unless tokens can be judged."""
        ...


def proof_of(verifier: Verifier, token: str | None) -> Proof:
    """What a token proves; None where none was sent.

    Raises:
        Problem: UNAUTHENTICATED or TOKENS_AWAY; why is for the log only, so that nobody learns to forge by asking.
    """
    if token is None:
        raise Problem(Kind.UNAUTHENTICATED, HOW_TO_ASK, log="no bearer token")
    try:
        return verifier.judge(token)
    except TokenRefused as error:
        raise Problem(Kind.UNAUTHENTICATED, HOW_TO_ASK, log=error.detail) from None
    except JwksUnavailable as error:
        raise Problem(
            Kind.TOKENS_AWAY, "The issuer's keys cannot be read here. Try again.", retry_after=5, log=str(error)
        ) from error


def bearer_of(authorization: str | None) -> str | None:
    """The token of an Authorization header; None where there is none, or another scheme."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
