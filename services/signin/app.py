"""The application: sessions for people, tokens for whoever has one, and the keys that tokens are verified with.

A token lives for a minute (`token_seconds`) and says the groups of the moment it was made: for another one the
session is asked, and with it the directory, so that a membership that is taken away is gone within that minute, and a
person who is removed is signed out. Instances share the sessions in PostgreSQL and the signer's key, and nothing else.

What was wrong with a sign-in is told to the log and not to the asker: a wrong name, a wrong password and somebody who
may not sign in get one answer. Directory or PostgreSQL away: 503, and nobody is let in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Header, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field

from access.policy import Policy
from access.signer import SignerNotReady
from resources.directory import DirectoryAway, DirectoryRefused
from resources.openid import OpenIdAway, OpenIdRefused
from resources.sessions import SessionsAway
from resources.settings import Settings
from services.door import health, rendering
from services.door.bearer import bearer_of
from services.door.edge import Edge
from services.door.health import ReadinessProbe
from services.door.models import Readiness
from services.door.problems import Kind, Problem
from services.signin import provider
from services.signin.bodies import basic_of, body_of, fields_of, oauth_refusal
from services.signin.limits import Attempts
from services.signin.page import local_goal, provider_page, sign_in_page, signed_in_page
from services.signin.people import (
    COOKIE,
    COOKIE_OPTIONS,
    Parts,
    Session,
    Token,
    begin_session,
    held,
    html,
    insist_on_own_page,
    prove,
    token_of,
    whose,
)
from services.signin.wiring import Edges, Metrics, SignIn, connect

PAGES = {"Dagster": "/dagster", "MLflow": "/mlflow"}
"""Where the gateway has pages for browsers."""

router = APIRouter()


class Credentials(BaseModel):
    """A name and a password."""

    name: str = Field(max_length=1024)
    password: str = Field(max_length=8192)


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
    app.include_router(provider.router)
    app.include_router(health.router)
    app.add_middleware(Edge, metrics=metrics)
    return app


@router.post("/v1/session", summary="Sign in", tags=["sessions"], response_model=SignedIn)
async def begin(request: Request, service: Parts) -> SignedIn:
    """A session for a name and a password (JSON), with a first token."""
    try:
        given = Credentials.model_validate_json(await body_of(request))
    except ValueError:
        raise Problem(Kind.MALFORMED, 'Send {"name": ..., "password": ...} as JSON.') from None
    person = await prove(service, request, given.name, given.password)
    session = await held(service, lambda: service.edges.sessions.begin(person.name))
    return SignedIn(session=session, **(await token_of(service, person)).model_dump())


@router.post("/v1/token", summary="Another token", tags=["sessions"], response_model=Token)
async def another(service: Parts, session: Session) -> Token:
    """A token for the groups of now; what a client with a session asks for each minute."""
    return await token_of(service, await whose(service, session))


@router.delete("/v1/session", summary="Sign out", tags=["sessions"], status_code=204)
async def end(service: Parts, session: Session) -> Response:
    """End the session; tokens that it gave run out within a minute."""
    service.tokens.forget(session)
    await held(service, lambda: service.edges.sessions.end(session))
    return Response(status_code=204)


@router.post("/v1/oauth/token", summary="A token for a machine", tags=["machines"])
async def machine(request: Request, service: Parts, authorization: Annotated[str | None, Header()] = None) -> Response:
    """The client credentials grant of OAuth 2 (RFC 6749, 4.4); machines are entries of the directory, too."""
    fields = await fields_of(request)
    if fields.get("grant_type") != "client_credentials":
        return oauth_refusal("unsupported_grant_type", 400)
    name, secret = basic_of(authorization) or (fields.get("client_id", ""), fields.get("client_secret", ""))
    try:
        person = await prove(service, request, name, secret, machine=True)
    except Problem as problem:
        if problem.kind is not Kind.WRONG_CREDENTIALS:
            raise
        rendering.told(request.scope.get("darkroom.request"), problem)
        return oauth_refusal("invalid_client", 401)
    made = await token_of(service, person)
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
            token = (await token_of(service, await whose(service, secret))).token
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
            person = await whose(service, secret)
            return html(signed_in_page(person.name, person.groups, pages_of(service.policy, person.groups)))
        except Problem as problem:
            if problem.kind is not Kind.UNAUTHENTICATED:
                raise
    outside = service.edges.provider
    return html(sign_in_page(local_goal(next)) if outside is None else provider_page(local_goal(next), outside.name))


@router.post("/signin", summary="The form of the page", tags=["page"], include_in_schema=False)
async def sign_in(request: Request, service: Parts) -> Response:
    """Sign in from the page: a cookie, and on to where the person wanted to go."""
    insist_on_own_page(request)
    fields = await fields_of(request)
    goal, name = local_goal(fields.get("next")), fields.get("name", "")
    try:
        person = await prove(service, request, name, fields.get("password", ""))
        return await begin_session(service, person, goal)
    except Problem as problem:
        rendering.told(request.scope.get("darkroom.request"), problem)
        answer = html(sign_in_page(goal, problem.detail, name), problem.kind.status)
        answer.headers.update({k: v for k, v in rendering.headers_of(problem).items() if k == "Retry-After"})
        return answer


@router.post("/signout", summary="The way out of the page", tags=["page"], include_in_schema=False)
async def sign_out(request: Request, service: Parts) -> Response:
    """Sign out from the page."""
    insist_on_own_page(request)
    if secret := request.cookies.get(COOKIE):
        service.tokens.forget(secret)
        await held(service, lambda: service.edges.sessions.end(secret))
    answer = RedirectResponse("/", status_code=303)
    answer.delete_cookie(COOKIE, **COOKIE_OPTIONS)
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
    if service.edges.provider is not None:
        questions["provider"] = service.edges.provider.check
    checks = {}
    for name, question in questions.items():
        try:
            # Not by the visitors' threads: an instance with much to do is not one that cannot work.
            await asyncio.to_thread(question)
            checks[name] = "ok"
        except (DirectoryAway, DirectoryRefused, OpenIdAway, OpenIdRefused, SessionsAway, SignerNotReady) as error:
            checks[name] = str(error)
    return Readiness(ready=all(said == "ok" for said in checks.values()), checks=checks)
