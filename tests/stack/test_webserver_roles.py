"""Dagster's web server with roles: who gets in, and what each mutation and each button is to whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._core.workspace.permissions import Permissions
from graphql import parse, validate
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from access.dagster_roles import Role, may
from access.policy import load_policy
from access.principal import Principal
from access.tokens import JwksUnavailable, Proof, TokenRefused
from stack.pages import SameSite, Signed
from stack.webserver import PREFIX
from stack.webserver_roles import MUTATION_OF, RoleProcess, RoleWebserver, admitting
from tests.dagster_documents import documents

ROLES = load_policy().dagster
GROUPS = {
    Role.NOBODY: "sales",
    Role.VIEWER: "analytics",
    Role.LAUNCHER: "ml-engineers",
    Role.ADMINISTRATOR: "platform-admins",
}
PERMISSIONS = "{ permissions { permission value disabledReason } }"
DOCUMENTS = documents()


class Groups:
    """Takes a token for the groups that it names."""

    def judge(self, token: str) -> Proof:
        if token == "away":  # no secret, a word of this test
            raise JwksUnavailable("the keys cannot be read")
        if token == "bad":
            raise TokenRefused("bad")
        return Proof(Principal("ada", tuple(token.split(","))), datetime.now(UTC) + timedelta(minutes=1))

    def ready(self) -> None:
        """Always."""


def serving(folder: Path, read_only: bool) -> Iterator[TestClient]:
    target = EmptyWorkspaceTarget()
    with (
        dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}}) as instance,
        RoleProcess(instance, workspace_load_target=target, version="", read_only=read_only, roles=ROLES) as process,
    ):
        app = RoleWebserver(process, PREFIX, policy="a policy").create_asgi_app()
        yield TestClient(
            SameSite(Signed(app, Groups(), f"{PREFIX}/server_info", admitting(ROLES, PREFIX))),
            base_url="https://gateway.test",
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    yield from serving(tmp_path_factory.mktemp("dagster"), read_only=False)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    yield from serving(tmp_path_factory.mktemp("dagster"), read_only=True)


def bearer(role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {GROUPS[role]}"}


def test_the_documents_of_this_test_are_valid() -> None:
    from dagster_graphql.schema import create_schema

    schema = create_schema().graphql_schema
    for name, document in DOCUMENTS.items():
        assert validate(schema, parse(document)) == [], name


@pytest.mark.parametrize("mutation", DOCUMENTS)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.LAUNCHER, Role.ADMINISTRATOR])
def test_each_mutation_asks_for_its_role(server: TestClient, read_only: TestClient, role: Role, mutation: str) -> None:
    def denied(client: TestClient) -> bool:
        answer = client.post(f"{PREFIX}/graphql", json={"query": DOCUMENTS[mutation]}, headers=bearer(role))
        codes = [one.get("extensions", {}).get("code") for one in answer.json().get("errors", ())]
        assert (answer.status_code == 403) == ("FORBIDDEN" in codes)
        assert "Traceback" not in answer.text or "FORBIDDEN" not in codes
        return "FORBIDDEN" in codes

    assert denied(server) is not may(ROLES, role, mutation)
    assert denied(read_only) is not may(ROLES, Role.VIEWER, mutation), "whoever asks"


@pytest.mark.parametrize(
    "document",
    [
        "mutation Innocent { harmless: wipeAssets(assetPartitionRanges: []) { __typename } }",
        "query A { version } mutation B { wipeAssets(assetPartitionRanges: []) { __typename } }",
        "mutation { ...F } fragment F on Mutation { wipeAssets(assetPartitionRanges: []) { __typename } }",
        "mutation { ... on Mutation { ... { wipeAssets(assetPartitionRanges: []) { __typename } } } }",
        "mutation { setNuxSeen wipeAssets(assetPartitionRanges: []) { __typename } }",
    ],
)
def test_a_denial_does_not_depend_on_how_it_is_written(server: TestClient, document: str) -> None:
    asked = {"query": document, "operationName": "B"} if "query A" in document else {"query": document}
    for answer in (
        server.post(f"{PREFIX}/graphql", json=asked, headers=bearer(Role.LAUNCHER)),
        server.get(f"{PREFIX}/graphql", params=asked, headers=bearer(Role.LAUNCHER)),
    ):
        assert "wipeAssets is for administrators (platform-admins)" in answer.text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.LAUNCHER, Role.ADMINISTRATOR])
def test_the_page_is_told_what_its_person_may_not_and_why(server: TestClient, role: Role) -> None:
    answer = server.post(f"{PREFIX}/graphql", json={"query": PERMISSIONS}, headers=bearer(role)).json()
    told = {one["permission"]: one for one in answer["data"]["permissions"]}
    assert set(told) == {str(one) for one in Permissions} == {str(one) for one in MUTATION_OF}
    for permission, mutation in MUTATION_OF.items():
        one = told[str(permission)]
        assert one["value"] is may(ROLES, role, mutation)
        assert (one["disabledReason"] is None) is one["value"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer bad"}, 401),
        ({"Authorization": "Basic YTpi"}, 401),
        ({"Authorization": "Bearer away"}, 503),
        ({"Authorization": "Bearer sales,logistics"}, 403),
        ({"Authorization": "Bearer analytics"}, 200),
        ({"Authorization": "Bearer analytics", "Origin": "https://evil.test"}, 403),
        ({"Authorization": "Bearer analytics", "Origin": "https://gateway.test"}, 200),
        ({"X-Forwarded-User": "ada", "X-Forwarded-Groups": "platform-admins"}, 401),
    ],
)
def test_nobody_gets_in_without_a_token_of_somebody_with_a_role(
    server: TestClient, headers: dict[str, str], status: int
) -> None:
    for method, path in (("POST", "/graphql"), ("GET", "/assets"), ("GET", "/logs/a/b")):
        answer = server.request(method, PREFIX + path, json={"query": "{ version }"}, headers=headers)
        refused = answer.status_code in (401, 403, 503)
        assert (answer.status_code == status) if status != 200 else not refused, (path, answer.text)


def test_a_socket_without_a_token_is_not_opened(server: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), server.websocket_connect(f"{PREFIX}/graphql", ["graphql-ws"]):
        pass
    with server.websocket_connect(f"{PREFIX}/graphql", ["graphql-ws"], headers=bearer(Role.VIEWER)) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json()["type"] == "connection_ack"
        document = DOCUMENTS["wipeAssets"]
        socket.send_json({"id": "1", "type": "start", "payload": {"query": document}})
        assert socket.receive_json()["type"] == "error"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.LAUNCHER])
def test_asset_events_by_rest_are_for_administrators(server: TestClient, role: Role) -> None:
    path = f"{PREFIX}/report_asset_materialization/images/raw_images"
    assert server.post(path, json={}, headers=bearer(role)).status_code == 403
    assert server.post(path, json={}, headers=bearer(Role.ADMINISTRATOR)).status_code == 200


def test_its_own_redirects_stay_on_tls(server: TestClient) -> None:
    """Bug prevented: the pages' bare address led to plain HTTP, which the gateway does not speak."""
    with TestClient(server.app, base_url="http://gateway.test") as plain:
        answer = plain.get(PREFIX, headers=bearer(Role.VIEWER), follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, f"https://gateway.test{PREFIX}/")


def test_only_the_probe_of_health_is_open(server: TestClient) -> None:
    told = server.get(f"{PREFIX}/server_info")
    assert told.status_code == 200 and told.json()["policy"] == "a policy"
    assert server.get(f"{PREFIX}/server_info/../graphql", params={"query": "{ version }"}).status_code == 401
    assert server.get(f"{PREFIX}/dagit_info").status_code == 401
