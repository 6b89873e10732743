"""What every way of signing in shares: who proved to be whom, whose session it is, and the token that follows."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel

from access.principal import check_names
from access.signer import SignerNotReady
from access.tokens import LARGEST_TOKEN
from resources.directory import DirectoryAway, DirectoryRefused, Person
from resources.sessions import SessionsAway
from services.door.bearer import bearer_of
from services.door.problems import Kind, Problem
from services.signin.page import POLICY
from services.signin.wiring import SignIn

COOKIE = "__Host-darkroom"
COOKIE_OPTIONS: dict[str, Any] = {"path": "/", "secure": True, "httponly": True, "samesite": "lax"}
WRONG = "The name or the password is wrong."


class Token(BaseModel):
    """A bearer token; `expires_in` is in seconds."""

    token: str
    expires_in: int
    name: str
    groups: tuple[str, ...]


def parts(request: Request) -> SignIn:
    """The parts of the running service."""
    return request.app.state.signin


def session_of(request: Request, authorization: Annotated[str | None, Header()] = None) -> str:
    """The session's secret: of the header, or of the cookie.

    Raises:
        Problem: UNAUTHENTICATED, where none was sent.
    """
    secret = bearer_of(authorization) or request.cookies.get(COOKIE)
    if not secret:
        raise Problem(Kind.UNAUTHENTICATED, "Sign in first: POST /v1/session with a name and a password.")
    return secret


Parts = Annotated[SignIn, Depends(parts)]
Session = Annotated[str, Depends(session_of)]


async def prove(service: SignIn, request: Request, name: str, password: str, *, machine: bool = False) -> Person:
    """The person of this name and password, who may sign in; each attempt is counted.

    Raises:
        Problem: WRONG_CREDENTIALS, TOO_MANY_ATTEMPTS, DIRECTORY_AWAY, BUSY; SIGN_IN_ELSEWHERE where a provider proves
            people, and this is no `machine`.
    """
    if service.edges.provider is not None and not machine:
        raise Problem(
            Kind.SIGN_IN_ELSEWHERE,
            f"Sign in with a browser, at {service.edges.provider.name}: no password counts here.",
        )
    try:
        person = await _proved(service, request, name, password)
    except Problem as problem:
        service.metrics.attempts.labels(problem.kind.code).inc()
        raise
    service.metrics.attempts.labels("signed_in").inc()
    return person


async def _proved(service: SignIn, request: Request, name: str, password: str) -> Person:
    address = request.client.host if request.client is not None else "unknown"
    if wait := service.attempts.begin(name, address):
        detail = f"Too many attempts were wrong, or are under way. Try again in {wait} s."
        raise Problem(Kind.TOO_MANY_ATTEMPTS, detail, retry_after=wait)
    try:
        person = await directory(service, lambda: service.edges.people.sign_in(name, password))
        why = "the name is unknown, or the password is not theirs" if person is None else why_not(person)
        if person is None or why:
            service.attempts.failed(name, address)
            raise Problem(Kind.WRONG_CREDENTIALS, WRONG, log=why)
        service.attempts.succeeded(name, address)
        return person
    finally:
        service.attempts.end(name, address)


async def whose(service: SignIn, session: str) -> Person:
    """Whose session it is, as the directory has them now.

    Raises:
        Problem: UNAUTHENTICATED, SESSIONS_AWAY, DIRECTORY_AWAY, BUSY.
    """
    subject = await held(service, lambda: service.edges.sessions.subject_of(session))
    if subject is None:
        raise Problem(Kind.UNAUTHENTICATED, "The session has ended. Sign in again.", log="no such session")
    person = await directory(service, lambda: service.edges.people.person(subject))
    why = "the person is not in the directory any more" if person is None else why_not(person)
    if person is None or why:
        await held(service, lambda: service.edges.sessions.end_all(subject))
        raise Problem(Kind.UNAUTHENTICATED, "The session has ended. Sign in again.", log=why)
    return person


def why_not(person: Person) -> str:
    """Why somebody whom the directory knows may not sign in; empty where they may."""
    try:
        check_names(person.name, list(person.groups))
    except ValueError as error:
        return str(error)
    return ""


async def token_of(service: SignIn, person: Person) -> Token:
    """A token of somebody, for the groups of now.

    Raises:
        Problem: TOKENS_AWAY, TOO_MANY_GROUPS, BUSY.
    """
    signer, life = service.edges.signer, service.token_life
    try:
        token = await service.ask(lambda: signer.token(person.name, person.groups, life))
    except SignerNotReady as error:
        raise Problem(Kind.TOKENS_AWAY, "There is no key to sign with.", retry_after=5, log=str(error)) from None
    if len(token) > LARGEST_TOKEN:
        raise Problem(
            Kind.TOO_MANY_GROUPS,
            f"A token that names your {len(person.groups)} groups is larger than any door takes. An administrator may "
            "narrow the setting ldap_group_filter.",
        )
    return Token(token=token, expires_in=int(life.total_seconds()), name=person.name, groups=person.groups)


async def directory(service: SignIn, question: Callable[[], Person | None]) -> Person | None:
    """What the directory answers; raises Problem: DIRECTORY_AWAY, BUSY."""
    began = perf_counter()
    try:
        return await service.ask(question)
    except (DirectoryAway, DirectoryRefused) as error:
        raise Problem(
            Kind.DIRECTORY_AWAY, "The directory cannot be asked now. Try again.", retry_after=5, log=str(error)
        ) from None
    finally:
        service.metrics.directory.observe(perf_counter() - began)


async def held(service: SignIn, question: Callable[[], Any]) -> Any:
    """What the sessions answer; raises Problem: SESSIONS_AWAY, BUSY."""
    try:
        return await service.ask(question)
    except SessionsAway as error:
        raise Problem(
            Kind.SESSIONS_AWAY, "Sessions cannot be looked up now. Try again.", retry_after=5, log=str(error)
        ) from None


async def begin_session(service: SignIn, person: Person, goal: str) -> Response:
    """A session for a browser, which goes on to where its person wanted to go."""
    session = await held(service, lambda: service.edges.sessions.begin(person.name))
    answer = RedirectResponse(goal, status_code=303)
    answer.set_cookie(COOKIE, session, max_age=service.settings.session_seconds, **COOKIE_OPTIONS)
    return answer


def insist_on_own_page(request: Request) -> None:
    """A form that another site's page sends would sign its visitor in as somebody else."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    # Without a referrer, which no page of ours sends, a browser calls its own origin null: then only `site` says it.
    own = site in ("same-origin", "none") or (
        site is None and origin in (None, f"https://{request.headers.get('host', '')}")
    )
    if not own:
        raise Problem(Kind.FOREIGN_PAGE, "This form is taken from its own page only.", log=f"from {origin!a}, {site!a}")


def html(text: str, status: int = 200) -> HTMLResponse:
    """A page that may load nothing."""
    return HTMLResponse(text, status, {"Content-Security-Policy": POLICY})
