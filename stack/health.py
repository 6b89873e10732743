"""Whether each service does its work: a real question to each, over the way its clients use.

A process that runs and does not answer is not healthy. Each probe takes a few seconds at most and raises nothing.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from access.signer import SignerNotReady
from resources.settings import Settings
from stack import directory, gateway, kafka_admin, postgres, s3, spark_cluster
from stack.access_keeper import read_sign
from stack.paths import Layout
from stack.service_names import KEEPER, RECOGNISER, SIGNIN, STREAMS, UPLOADS, WEBSERVERS, code_socket, webserver_socket
from stack.signing import OWNERS_GROUPS, signer
from stack.state import DAGSTER_DATABASE, StackState, postgres_dsn
from stack.webserver import PREFIX

DAEMON_TYPE = "SENSOR"
HEARTBEAT_SECONDS = 120.0
WORKSPACE_QUERY = """{ version locationStatusesOrError { __typename }
workspaceOrError { __typename ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
__typename ... on PythonError { message } } } } } }"""


@dataclass(frozen=True)
class Health:
    """The answer of one probe; `detail` says what was wrong, and is empty when nothing was."""

    ok: bool
    detail: str = ""


class Probes:
    """The probes of one stack's services."""

    def __init__(self, layout: Layout, state: StackState, admin: Settings) -> None:
        """Args: admin: settings with the identity `admin`."""
        self._layout = layout
        self._state = state
        self._admin = admin

    def check(self, name: str, since: float = 0.0) -> Health:
        """Ask one service.

        Args:
            since: seconds since the epoch; an earlier sign of life does not count (for those that cannot be asked).
        """
        probes: dict[str, Callable[[], Health]] = {
            "postgres": self._postgres,
            "kafka": self._kafka,
            s3.S3: self._s3,
            directory.DIRECTORY: self._directory,
            **dict.fromkeys(spark_cluster.SERVICES, lambda: self._spark(name)),
            "code-server": self._code_server,
            "daemon": lambda: self._daemon(since),
            **dict.fromkeys(WEBSERVERS, lambda: self._webserver(name)),
            "mlflow": self._mlflow,
            **dict.fromkeys((*UPLOADS, *STREAMS, RECOGNISER, *SIGNIN), lambda: self._door(name)),
            KEEPER: lambda: self._keeper(since),
            gateway.GATEWAY: self._gateway,
        }
        return probes[name]()

    def _postgres(self) -> Health:
        if postgres.answers(self._layout, self._state.ports["postgres"]):
            return Health(True)
        return Health(False, "no answer to a query over TLS")

    def _kafka(self) -> Health:
        if kafka_admin.answers(kafka_admin.admin_client(self._admin)):
            return Health(True)
        return Health(False, "no metadata over mutual TLS")

    def _directory(self) -> Health:
        wrong = directory.answers(self._layout, self._state.ports[directory.DIRECTORY])
        return Health(wrong is None, wrong or "")

    def _s3(self) -> Health:
        wrong = s3.answers(self._layout, self._state.ports[s3.S3])
        return Health(wrong is None, wrong or "")

    def _spark(self, name: str) -> Health:
        wrong = spark_cluster.answers(self._layout, name, self._state.ports)
        return Health(wrong is None, wrong or "")

    def _code_server(self) -> Health:
        import grpc
        from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

        with grpc.insecure_channel(f"unix:{code_socket(self._state)}") as channel:
            try:
                # The standard protocol, spelled out: the generated stub has no types.
                ask = channel.unary_unary(
                    "/grpc.health.v1.Health/Check",
                    request_serializer=HealthCheckRequest.SerializeToString,
                    response_deserializer=HealthCheckResponse.FromString,
                )
                answer = ask(HealthCheckRequest(service="DagsterApi"), timeout=3)
            except grpc.RpcError as error:
                return Health(False, f"gRPC: {error.details() if isinstance(error, grpc.Call) else error}")
        if answer.status == HealthCheckResponse.SERVING:
            return Health(True)
        return Health(False, "gRPC: not serving")

    def _daemon(self, since: float) -> Health:
        dsn = postgres_dsn(self._layout, self._state.ports["postgres"], "admin", DAGSTER_DATABASE)
        query = "SELECT extract(epoch FROM timestamp AT TIME ZONE 'UTC') FROM daemon_heartbeats WHERE daemon_type = %s"
        try:
            with psycopg.connect(dsn, connect_timeout=3) as connection:
                row = connection.execute(query, [DAEMON_TYPE]).fetchone()
        except psycopg.Error as error:
            return Health(False, f"heartbeats cannot be read: {error}".strip())
        if row is None or float(row[0]) < since:
            return Health(False, "no heartbeat of the sensor daemon yet")
        age = time.time() - float(row[0])
        return Health(True) if age < HEARTBEAT_SECONDS else Health(False, f"last heartbeat {age:.0f} s ago")

    def _webserver(self, name: str) -> Health:
        import httpx

        url = f"{webserver_socket(self._state, name)} {PREFIX}/graphql"
        try:
            token = signer(self._layout, self._admin).token("health", OWNERS_GROUPS, timedelta(minutes=1))
            way = httpx.HTTPTransport(uds=str(webserver_socket(self._state, name)))
            with httpx.Client(transport=way, timeout=5, headers={"Authorization": f"Bearer {token}"}) as client:
                answer = client.post(f"http://dagster{PREFIX}/graphql", json={"query": WORKSPACE_QUERY})
            data = answer.json()["data"]
            entries = data["workspaceOrError"]["locationEntries"]
        except (httpx.HTTPError, SignerNotReady, ValueError, KeyError, TypeError) as error:
            return Health(False, f"GraphQL at {url}: {error or type(error).__name__}")
        for entry in entries:
            found = entry["locationOrLoadError"] or {}
            if found.get("__typename") == "PythonError":
                return Health(False, f"code location {entry['name']} does not load: {found['message'].strip()}")
        if not entries or any(entry["locationOrLoadError"] is None for entry in entries):
            return Health(False, "the code location is still loading")
        return Health(True)

    def _mlflow(self) -> Health:
        import httpx

        # Not /health, which answers without looking at the database.
        url = f"https://127.0.0.1:{self._state.ports['mlflow']}/api/2.0/mlflow/experiments/get?experiment_id=0"
        try:
            trust = ssl.create_default_context(cafile=str(self._layout.ca))
            trust.load_cert_chain(self._layout.certificate_and_key("admin"))
            answer = httpx.get(url, verify=trust, timeout=5, trust_env=False)
        except (httpx.HTTPError, OSError) as error:
            return Health(False, f"{url}: {error or type(error).__name__}")
        return Health(True) if answer.is_success else Health(False, f"{url} answered {answer.status_code}")

    def _keeper(self, since: float) -> Health:
        sign = read_sign(self._layout)
        if sign is None or sign.at < since:
            return Health(False, "it has not looked at the directory yet")
        if time.time() > sign.next + HEARTBEAT_SECONDS:
            return Health(False, f"it looked last {time.time() - sign.at:.0f} s ago")
        return Health(not sign.wrong, sign.wrong)

    def _gateway(self) -> Health:
        wrong = gateway.answers(self._layout, self._state)
        return Health(wrong is None, wrong or "")

    def _door(self, name: str) -> Health:
        import httpx

        url = f"https://127.0.0.1:{self._state.ports[name]}/readyz"
        try:
            trust = ssl.create_default_context(cafile=str(self._layout.ca))
            if name == RECOGNISER:
                trust.load_cert_chain(self._layout.certificate_and_key("operator"))
            else:
                # What is behind the gateway lets nobody else in.
                trust.load_cert_chain(self._layout.hop_certificate, self._layout.hop_key)
            answer = httpx.get(url, verify=trust, timeout=5, trust_env=False)
        except (httpx.HTTPError, OSError) as error:
            return Health(False, f"{url}: {error or type(error).__name__}")
        if answer.is_success:
            return Health(True)
        return Health(False, f"{url} answered {answer.status_code}: {answer.text[:300]}")
