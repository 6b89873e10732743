"""The application: sessions for people, tokens for whoever has one, and the keys that tokens are verified with.

A token lives for a minute (`token_seconds`) and says the groups of the moment it was made: for another one the
session is asked, and with it the directory, so that a membership that is taken away is gone within that minute, and a
person who is removed is signed out. Instances share the sessions in PostgreSQL and the signer's key, and nothing else.

What was wrong with a sign-in is told to the log and not to the asker: a wrong name, a wrong password and somebody who
may not sign in get one answer. Directory or PostgreSQL away: 503, and nobody is let in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field

from access.policy import Policy
from access.principal import check_names
from access.signer import SignerNotReady
from access.tokens import LARGEST_TOKEN
from resources.directory import DirectoryAway, DirectoryRefused, Person
from resources.sessions import SessionsAway
from resources.settings import Settings
from services.door import health, rendering
from services.door.bearer import bearer_of
from services.door.edge import Edge
from services.door.health import ReadinessProbe
from services.door.models import Readiness
from services.door.problems import Kind, Problem
from services.signin.bodies import basic_of, body_of, fields_of, oauth_refusal
from services.signin.limits import Attempts
from services.signin.page import POLICY, local_goal, sign_in_page, signed_in_page
from services.signin.wiring import Edges, Metrics, SignIn, connect

COOKIE = "__Host-darkroom"
PAGES = {"Dagster": "/dagster", "MLflow": "/mlflow"}
"""Where the gateway has pages for browsers."""
WRONG = "The name or the password is wrong."

router = APIRouter()


class Credentials(BaseModel):
    """A name and a password."""

    name: str = Field(max_length=1024)
    password: str = Field(max_length=8192)


class Token(BaseModel):
    """A bearer token; `expires_in` is in seconds."""

    token: str
    expires_in: int
    name: str
    groups: tuple[str, ...]


class SignedIn(Token):
    """A token, and the secret of the session that gives further ones."""

    session: str


def create_app(
    settings: Settings,
    *,
    edges: Callable[[Settings], Edges] = connect,
    attempts: Callable[[], Attempts] = Attempts,
) -> FastAPI:
    """The application for `settings`; `edges` makes what is outside, when it starts."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.signin = service = SignIn(settings, edges(settings), metrics, attempts())
        app.state.metrics = metrics
        app.state.readiness = ReadinessProbe(lambda: _round(service))
        try:
            yield
        finally:
            service.close()

    app = FastAPIOffline(
        title="Darkroom sign-in",
        version="1",
        summary="A name and a password, for a session and short-lived tokens.",
        description=__doc__,
        lifespan=lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    rendering.install(app)
    app.include_router(router)
    app.include_router(health.router)
    app.add_middleware(Edge, metrics=metrics)
    return app


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


@router.post("/v1/session", summary="Sign in", tags=["sessions"], response_model=SignedIn)
async def begin(request: Request, service: Parts) -> SignedIn:
    """A session for a name and a password (JSON), with a first token."""
    try:
        given = Credentials.model_validate_json(await body_of(request))
    except ValueError:
        raise Problem(Kind.MALFORMED, 'Send {"name": ..., "password": ...} as JSON.') from None
    person = await prove(service, request, given.name, given.password)
    session = await _held(service, lambda: service.edges.sessions.begin(person.name))
    return SignedIn(session=session, **(await _token(service, person)).model_dump())


@router.post("/v1/token", summary="Another token", tags=["sessions"], response_model=Token)
async def another(service: Parts, session: Session) -> Token:
    """A token for the groups of now; what a client with a session asks for each minute."""
    return await _token(service, await _whose(service, session))


@router.delete("/v1/session", summary="Sign out", tags=["sessions"], status_code=204)
async def end(service: Parts, session: Session) -> Response:
    """End the session; tokens that it gave run out within a minute."""
    service.tokens.forget(session)
    await _held(service, lambda: service.edges.sessions.end(session))
    return Response(status_code=204)


@router.post("/v1/oauth/token", summary="A token for a machine", tags=["machines"])
async def machine(request: Request, service: Parts, authorization: Annotated[str | None, Header()] = None) -> Response:
    """The client credentials grant of OAuth 2 (RFC 6749, 4.4); machines are entries of the directory, too."""
    fields = await fields_of(request)
    if fields.get("grant_type") != "client_credentials":
        return oauth_refusal("unsupported_grant_type", 400)
    name, secret = basic_of(authorization) or (fields.get("client_id", ""), fields.get("client_secret", ""))
    try:
        person = await prove(service, request, name, secret)
    except Problem as problem:
        if problem.kind is not Kind.WRONG_CREDENTIALS:
            raise
        rendering.told(request.scope.get("darkroom.request"), problem)
        return oauth_refusal("invalid_client", 401)
    made = await _token(service, person)
    told = {"access_token": made.token, "token_type": "Bearer", "expires_in": made.expires_in}
    return JSONResponse(told, headers={"Cache-Control": "no-store"})


@router.api_route(
    "/v1/authorize{asked:path}",
    methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
    summary="Whose browser this is, for the gateway",
    tags=["gateway"],
    include_in_schema=False,
)
async def authorize(
    request: Request, service: Parts, asked: str, authorization: Annotated[str | None, Header()] = None
) -> Response:
    """A token for a browser's session, as a header; the gateway asks before it verifies it, and nobody else can.

    A request that brings a token of its own is let pass as it is. A browser that is not signed in is sent to the page.
    """
    if bearer_of(authorization):
        return Response(status_code=200)
    secret = request.cookies.get(COOKIE)
    try:
        if not secret:
            raise Problem(Kind.UNAUTHENTICATED, "Sign in first.", log="no session's cookie")
        token = service.tokens.get(secret)
        if token is None:
            token = (await _token(service, await _whose(service, secret))).token
            service.tokens.put(secret, token)
    except Problem as problem:
        page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if problem.kind is not Kind.UNAUTHENTICATED or not page:
            raise
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/?{urlencode({'next': local_goal(asked + query)})}", status_code=303)
    return Response(status_code=200, headers={"Authorization": f"Bearer {token}"})


@router.get("/.well-known/jwks.json", summary="The keys that tokens are verified with", tags=["keys"])
async def keys(service: Parts) -> Response:
    """A JWK set (RFC 7517): the signer's key, and after a rotation the one before it."""
    try:
        content = await service.ask(service.edges.signer.public_keys)
    except SignerNotReady as error:
        raise Problem(Kind.TOKENS_AWAY, "There is no key to sign with.", retry_after=5, log=str(error)) from None
    return Response(content, media_type="application/jwk-set+json", headers={"Cache-Control": "max-age=30"})


@router.get("/", summary="The page to sign in", tags=["page"], response_class=HTMLResponse)
async def page(request: Request, service: Parts, next: str | None = None) -> Response:
    """The form, or who is signed in."""
    if secret := request.cookies.get(COOKIE):
        try:
            person = await _whose(service, secret)
            return _html(signed_in_page(person.name, person.groups, pages_of(service.policy, person.groups)))
        except Problem as problem:
            if problem.kind is not Kind.UNAUTHENTICATED:
                raise
    return _html(sign_in_page(local_goal(next)))


@router.post("/signin", summary="The form of the page", tags=["page"], include_in_schema=False)
async def sign_in(request: Request, service: Parts) -> Response:
    """Sign in from the page: a cookie, and on to where the person wanted to go."""
    _insist_on_own_page(request)
    fields = await fields_of(request)
    goal, name = local_goal(fields.get("next")), fields.get("name", "")
    try:
        person = await prove(service, request, name, fields.get("password", ""))
        session = await _held(service, lambda: service.edges.sessions.begin(person.name))
    except Problem as problem:
        rendering.told(request.scope.get("darkroom.request"), problem)
        answer = _html(sign_in_page(goal, problem.detail, name), problem.kind.status)
        answer.headers.update({k: v for k, v in rendering.headers_of(problem).items() if k == "Retry-After"})
        return answer
    answer = RedirectResponse(goal, status_code=303)
    answer.set_cookie(COOKIE, session, max_age=service.settings.session_seconds, **_COOKIE)
    return answer


@router.post("/signout", summary="The way out of the page", tags=["page"], include_in_schema=False)
async def sign_out(request: Request, service: Parts) -> Response:
    """Sign out from the page."""
    _insist_on_own_page(request)
    if secret := request.cookies.get(COOKIE):
        service.tokens.forget(secret)
        await _held(service, lambda: service.edges.sessions.end(secret))
    answer = RedirectResponse("/", status_code=303)
    answer.delete_cookie(COOKIE, **_COOKIE)
    return answer


def pages_of(policy: Policy, groups: Sequence[str]) -> dict[str, str]:
    """The pages that the policy's routes open to somebody in these groups: address by name."""
    may = {route.path for route in policy.routes if route.browser and not set(route.groups).isdisjoint(groups)}
    return {name: f"{path}/" for name, path in PAGES.items() if f"{path}/*" in may}


async def _round(service: SignIn) -> Readiness:
    """The directory for nobody, PostgreSQL for sessions, and the signer for its keys."""
    questions: dict[str, Callable[[], Any]] = {
        "directory": lambda: service.edges.people.person("nobody-of-this-name"),
        "sessions": service.edges.sessions.check,
        "signer": service.edges.signer.public_keys,
    }
    checks = {}
    for name, question in questions.items():
        try:
            await service.ask(question)
            checks[name] = "ok"
        except (DirectoryAway, DirectoryRefused, SessionsAway, SignerNotReady) as error:
            checks[name] = str(error)
    return Readiness(ready=all(said == "ok" for said in checks.values()), checks=checks)


async def prove(service: SignIn, request: Request, name: str, password: str) -> Person:
    """The person of this name and password, who may sign in; each attempt is counted.

    Raises:
        Problem: WRONG_CREDENTIALS, TOO_MANY_ATTEMPTS, DIRECTORY_AWAY, BUSY.
    """
    try:
        person = await _proved(service, request, name, password)
    except Problem as problem:
        service.metrics.attempts.labels(problem.kind.code).inc()
        raise
    service.metrics.attempts.labels("signed_in").inc()
    return person


async def _proved(service: SignIn, request: Request, name: str, password: str) -> Person:
    address = request.client.host if request.client is not None else "unknown"
    if wait := service.attempts.wait(name, address):
        raise Problem(
            Kind.TOO_MANY_ATTEMPTS, f"Too many attempts were wrong. Try again in {wait} seconds.", retry_after=wait
        )
    person = await _directory(service, lambda: service.edges.people.sign_in(name, password))
    why = "the name is unknown, or the password is not theirs" if person is None else _why_not(person)
    if person is None or why:
        service.attempts.failed(name, address)
        raise Problem(Kind.WRONG_CREDENTIALS, WRONG, log=why)
    service.attempts.succeeded(name, address)
    return person


async def _whose(service: SignIn, session: str) -> Person:
    subject = await _held(service, lambda: service.edges.sessions.subject_of(session))
    if subject is None:
        raise Problem(Kind.UNAUTHENTICATED, "The session has ended. Sign in again.", log="no such session")
    person = await _directory(service, lambda: service.edges.people.person(subject))
    why = "the person is not in the directory any more" if person is None else _why_not(person)
    if person is None or why:
        await _held(service, lambda: service.edges.sessions.end_all(subject))
        raise Problem(Kind.UNAUTHENTICATED, "The session has ended. Sign in again.", log=why)
    return person


def _why_not(person: Person) -> str:
    """Why somebody whom the directory knows may not sign in; empty where they may."""
    try:
        check_names(person.name, list(person.groups))
    except ValueError as error:
        return str(error)
    return ""


async def _token(service: SignIn, person: Person) -> Token:
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


async def _directory(service: SignIn, question: Callable[[], Person | None]) -> Person | None:
    began = perf_counter()
    try:
        return await service.ask(question)
    except (DirectoryAway, DirectoryRefused) as error:
        raise Problem(
            Kind.DIRECTORY_AWAY, "The directory cannot be asked now. Try again.", retry_after=5, log=str(error)
        ) from None
    finally:
        service.metrics.directory.observe(perf_counter() - began)


async def _held(service: SignIn, question: Callable[[], Any]) -> Any:
    try:
        return await service.ask(question)
    except SessionsAway as error:
        raise Problem(
            Kind.SESSIONS_AWAY, "Sessions cannot be looked up now. Try again.", retry_after=5, log=str(error)
        ) from None


def _insist_on_own_page(request: Request) -> None:
    """A form that another site's page sends would sign its visitor in as somebody else."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    # Without a referrer, which no page of ours sends, a browser calls its own origin null: then only `site` says it.
    own = site in ("same-origin", "none") or (
        site is None and origin in (None, f"https://{request.headers.get('host', '')}")
    )
    if not own:
        raise Problem(Kind.FOREIGN_PAGE, "This form is taken from its own page only.", log=f"from {origin!a}, {site!a}")


def _html(text: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(text, status, {"Content-Security-Policy": POLICY})


_COOKIE: dict[str, Any] = {"path": "/", "secure": True, "httponly": True, "samesite": "lax"}
