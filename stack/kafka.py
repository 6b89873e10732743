"""Apache Kafka of the stack: one KRaft node, broker and controller in one, formatted and configured.

TLS 1.3 on every listener, the controller's too. A service is known by its certificate, whose common name is the
principal; a person, on a listener of their own, by a token of sign-in's, in which the principal is a claim of its own
(`access.principal`), so that no person can have a service's name. What no rule allows is refused.

The voter is named in the configuration (a static quorum), so that the controller's port may change between two starts.
Limit: one node, so "acknowledged" means written by one process; a kill loses nothing, the loss of the disk does.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from access.principal import KAFKA_CLAIM
from resources.kafka import MAX_RECORD_BYTES
from resources.settings import MEBIBYTE, Settings
from stack.errors import StackError
from stack.paths import Layout, write_private

HEAP = "512m"
"""The broker unpacks what a producer packed before it looks at its size: 60 MiB take up to 130 MiB of it for a moment.
What unpacks to more than fits ends the broker, which the supervisor starts again; only who may write can send that."""
_OAUTH = "org.apache.kafka.common.security.oauthbearer"

LOG4J = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders>
    <Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%d{ISO8601} %p %m (%c{1})%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="out"/></Root>
    <Logger name="org.apache.kafka.common.config" level="WARN"/>
    <Logger name="kafka.server.KafkaConfig" level="WARN"/>
  </Loggers>
</Configuration>
"""


def java() -> Path | None:
    """The Java to use: JAVA_HOME's, else the path's."""
    named = os.environ.get("JAVA_HOME")
    if named and (Path(named) / "bin" / "java").is_file():
        return Path(named) / "bin" / "java"
    found = shutil.which("java")
    return Path(found) if found else None


def jars(settings: Settings) -> Path:
    """The folder with Kafka's jars: the setting's, else where jvm/pom.xml puts them beside this source tree."""
    return settings.jars or settings.jvm_root / "kafka"


def has_jars(folder: Path) -> bool:
    """Whether the broker and its tools lie there."""
    return any(folder.glob("kafka_2.13-*.jar")) and any(folder.glob("kafka-tools-*.jar"))


def data_of(layout: Layout) -> Path:
    """The broker's log folder."""
    return layout.kafka / "data"


def signing_keys(run: Path) -> Path:
    """By which name the broker finds the published keys of tokens: it takes a file's address without decoding it, so
    that the folder has to be plain, as that of the sockets is."""
    return run / "jwks.json"


def command(layout: Layout, settings: Settings, run: Path) -> list[str]:
    """The command line that starts the broker; nothing secret is on it."""
    return [
        str(java()),
        f"-Xmx{HEAP}",
        "-Xms64m",
        "-XX:+ExitOnOutOfMemoryError",
        # From here, and nowhere else, come the keys that people's tokens are verified with.
        f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={signing_keys(run).as_uri()}",
        f"-Dlog4j2.configurationFile={(layout.kafka / 'log4j2.xml').as_uri()}",
        "-cp",
        f"{jars(settings)}/*",
        "kafka.Kafka",
        str(layout.kafka / "server.properties"),
    ]


def prepare(layout: Layout, settings: Settings, ports: Mapping[str, int], super_users: list[str], run: Path) -> None:
    """Write the configuration, and format the log folder if there is none. Called while no broker runs.

    Raises:
        StackError: formatting failed, with what it said; or there is a log folder that was never whole.
    """
    layout.kafka.mkdir(mode=0o700, exist_ok=True)
    pem = b"".join(path.read_bytes() for path in (layout.key("broker"), layout.certificate("broker"), layout.ca))
    write_private(layout.kafka / "broker.pem", pem)
    write_private(layout.kafka / "log4j2.xml", LOG4J)
    data = data_of(layout)
    signing_keys(run).unlink(missing_ok=True)
    signing_keys(run).symlink_to(settings.jwks_path.absolute())
    properties = configuration(layout, settings, ports, super_users, run)
    write_private(layout.kafka / "server.properties", as_properties(properties))
    if not (data / "meta.properties").is_file():
        _format(layout, settings, properties, data)


def configuration(
    layout: Layout, settings: Settings, ports: Mapping[str, int], super_users: list[str], run: Path
) -> dict[str, str]:
    """The broker's configuration, by name.

    Args:
        run: the folder of the stack's sockets.
    """
    client, people, controller = ports["kafka"], ports["kafka-people"], ports["kafka-controller"]
    tokens = "listener.name.people.oauthbearer"
    values: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"CLIENT://127.0.0.1:{client},PEOPLE://127.0.0.1:{people},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{client},PEOPLE://127.0.0.1:{people}",
        "listener.security.protocol.map": "CLIENT:SSL,PEOPLE:SASL_SSL,CONTROLLER:SSL",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": data_of(layout),
        # Who may talk to it.
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": layout.kafka / "broker.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": layout.ca,
        "ssl.client.auth": "required",
        "ssl.enabled.protocols": "TLSv1.3",
        # Only a name that is nothing but a common name becomes a principal of ours.
        "ssl.principal.mapping.rules": "RULE:^CN=([a-z0-9-]+)$/$1/,DEFAULT",
        # People by their tokens.
        "listener.name.people.ssl.client.auth": "none",
        "listener.name.people.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{tokens}.sasl.server.callback.handler.class": f"{_OAUTH}.OAuthBearerValidatorCallbackHandler",
        # The claim is a string that nothing uses; without it the module takes itself for a client's, and fails.
        f"{tokens}.sasl.jaas.config": f'{_OAUTH}.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="-";',
        f"{tokens}.sasl.oauthbearer.jwks.endpoint.url": signing_keys(run).as_uri(),
        f"{tokens}.sasl.oauthbearer.expected.issuer": settings.token_issuer,
        f"{tokens}.sasl.oauthbearer.expected.audience": settings.token_audience,
        f"{tokens}.sasl.oauthbearer.sub.claim.name": KAFKA_CLAIM,
        # A connection ends with its token, unless its client brings the next one.
        f"{tokens}.connections.max.reauth.ms": settings.token_seconds * 1000,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": ";".join(super_users),
        # One node, small.
        "auto.create.topics.enable": "false",
        "num.partitions": 1,
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        "message.max.bytes": MAX_RECORD_BYTES,
        "replica.fetch.max.bytes": MAX_RECORD_BYTES,
        # After a kill the broker may register again only when its last session has ended; the default is 9 s.
        "broker.session.timeout.ms": 5000,
        "broker.heartbeat.interval.ms": 1000,
        "num.network.threads": 2,
        "num.io.threads": 4,
        # The cleaner takes this much of the heap at once; the default is half of it.
        "log.cleaner.dedupe.buffer.size": 8 * MEBIBYTE,
        "log.retention.ms": settings.retention_days * 86_400_000,
        # What a purge deletes leaves the disk within a minute; the defaults are five minutes, and one more.
        "log.retention.check.interval.ms": 10_000,
        "log.segment.delete.delay.ms": 5_000,
    }
    return {name: str(value) for name, value in values.items()}


def as_properties(values: Mapping[str, str]) -> str:
    """Java's properties format: Latin-1, backslash escapes, so that any folder name survives."""
    lines = ["# Written by `darkroom up`, anew each time."]
    for name, value in values.items():
        escaped = value.replace("\\", "\\\\").encode("utf-16-be", "surrogatepass")
        units = (int.from_bytes(escaped[index : index + 2], "big") for index in range(0, len(escaped), 2))
        lines.append(f"{name}=" + "".join(chr(unit) if 32 <= unit < 127 else f"\\u{unit:04x}" for unit in units))
    return "\n".join(lines) + "\n"


def _format(layout: Layout, settings: Settings, properties: Mapping[str, str], data: Path) -> None:
    """Format beside, then rename: a log folder is either whole or not there."""
    if data.is_dir() and any(data.iterdir()):
        # It was whole once, so it may hold acknowledged images that have not landed.
        raise StackError(
            f"Kafka's log folder {data} holds data and no meta.properties: is its disk there and whole? Put that file "
            "back. Nothing was changed. To give up what it holds: move the folder away, `darkroom up`, and "
            "`darkroom accept-loss`."
        )
    scratch = layout.kafka / "data.new"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)
    scratch_properties = layout.kafka / "format.properties"
    write_private(scratch_properties, as_properties({**properties, "log.dirs": str(scratch)}))
    # A cluster id is a random UUID in URL-safe base64; one that begins with a dash would look like an option.
    cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    tool = [str(java()), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars(settings)}/*"]
    arguments = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(scratch_properties)]
    done = subprocess.run([*tool, *arguments], capture_output=True, text=True, timeout=120, check=False)
    scratch_properties.unlink()
    if done.returncode != 0:
        raise StackError(f"Formatting Kafka's log folder {data} failed:\n{done.stderr[-1500:] or done.stdout[-1500:]}")
    scratch.rename(data)
