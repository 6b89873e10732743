"""What the stack asks of a running broker, as the identity `admin`: is it there."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from resources.kafka import client_config
from resources.settings import Settings


def admin_client(settings: Settings) -> AdminClient:
    """A client with the certificate that `settings` names; it says nothing while the broker is still starting."""
    return AdminClient({**client_config(settings), "reconnect.backoff.max.ms": "500", "log_level": "0"})


def answers(client: AdminClient, seconds: float = 3.0) -> bool:
    """Whether the broker gives its metadata, itself among the brokers, over mutual TLS."""
    try:
        return bool(client.list_topics(timeout=seconds).brokers)
    except KafkaException:
        return False
