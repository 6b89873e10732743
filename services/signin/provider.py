"""The two steps of signing in at an outside OpenID provider: there, and back (`resources.openid`).

What a browser keeps meanwhile is in a cookie of its own, for ten minutes, so that any instance can take it back. A
failure is a page with a way to try again; why it was is told to the log alone.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from resources.openid import Challenge, OpenIdAway, OpenIdRefused, challenge_of
from services.door import rendering
from services.door.problems import Kind, Problem
from services.signin.page import local_goal, provider_page
from services.signin.people import COOKIE_OPTIONS, Parts, begin_session, directory, html, why_not
from services.signin.wiring import Provider, SignIn

CHALLENGE = "__Host-darkroom-openid"
CHALLENGE_SECONDS = 600
BACK = "/signin/openid/callback"
NOT_SIGNED_IN = "You are not signed in. Try again; if it stays so, ask an administrator."

router = APIRouter()


@router.get("/signin/openid", summary="To the OpenID provider", tags=["page"])
async def leave(
    request: Request, service: Parts, next: Annotated[str | None, Query(max_length=2048)] = None
) -> Response:
    """Send a browser to the provider."""
    provider = _provider(service)
    try:
        place, kept = await service.ask(lambda: provider.begin(_back(request), local_goal(next)))
    except OpenIdAway as error:
        raise _away(error) from None
    answer = RedirectResponse(place, status_code=303)
    answer.set_cookie(CHALLENGE, kept.text(), max_age=CHALLENGE_SECONDS, **COOKIE_OPTIONS)
    return answer


@router.get(BACK, summary="Back from the OpenID provider", tags=["page"])
async def come_back(
    request: Request,
    service: Parts,
    code: Annotated[str, Query(max_length=4096)] = "",
    state: Annotated[str, Query(max_length=1024)] = "",
    error: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """A session for whom the provider names, if the directory knows them."""
    provider = _provider(service)
    kept = challenge_of(request.cookies.get(CHALLENGE, ""))
    goal = local_goal(kept.goal if kept is not None else None)
    try:
        answer = await _proved(service, provider, _back(request), code, state, kept, error, goal)
        service.metrics.attempts.labels("signed_in").inc()
    except Problem as problem:
        service.metrics.attempts.labels(problem.kind.code).inc()
        rendering.told(request.scope.get("darkroom.request"), problem)
        answer = html(provider_page(goal, provider.name, problem.detail), problem.kind.status)
        answer.headers.update({k: v for k, v in rendering.headers_of(problem).items() if k == "Retry-After"})
    answer.delete_cookie(CHALLENGE, **COOKIE_OPTIONS)
    return answer


async def _proved(
    service: SignIn,
    provider: Provider,
    back: str,
    code: str,
    state: str,
    kept: Challenge | None,
    error: str,
    goal: str,
) -> Response:
    if kept is None or not state:
        raise _refused("this browser did not leave from here, or too long ago")
    if error or not code:
        raise _refused(f"the provider said {error[:100]!a}")
    try:
        name = await service.ask(lambda: provider.finish(back, code, state, kept))
    except OpenIdAway as away:
        raise _away(away) from None
    except OpenIdRefused as refused:
        raise _refused(str(refused)) from None
    person = await directory(service, lambda: service.edges.people.person(name))
    why = "the provider's person is not in the directory" if person is None else why_not(person)
    if person is None or why:
        raise _refused(why)
    return await begin_session(service, person, goal)


def _provider(service: SignIn) -> Provider:
    if service.edges.provider is None:
        raise Problem(Kind.NOT_FOUND, "No OpenID provider is set here: people sign in with a password.")
    return service.edges.provider


def _back(request: Request) -> str:
    """The address to come back to; a provider sends nobody to one that it was not told before."""
    return f"https://{request.headers.get('host', '')}{BACK}"


def _away(error: OpenIdAway) -> Problem:
    return Problem(
        Kind.PROVIDER_AWAY, "The OpenID provider cannot be asked now. Try again.", retry_after=5, log=str(error)
    )


def _refused(why: str) -> Problem:
    return Problem(Kind.WRONG_CREDENTIALS, NOT_SIGNED_IN, log=why)
