"""Ports: kept, and chosen anew only where another process took them."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from stack.ports import choose, is_free
from stack.service_names import PORT_NAMES, PORTS, ports_of


def listener() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken


def test_ports_are_kept_from_start_to_start():
    first, _ = choose(["a", "b"], {}, [])
    assert choose(["a", "b"], first, []) == (first, [])
    assert first["a"] != first["b"]


def test_a_port_that_another_process_took_is_chosen_anew_and_named():
    with listener() as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
        chosen, moved = choose(["a"], {"a": port}, [])
        assert moved == ["a"]
        assert chosen["a"] != port


def test_a_port_that_the_stack_itself_serves_is_no_reason_to_move():
    with listener() as taken:
        port = taken.getsockname()[1]
        assert choose(["a"], {"a": port}, ["a"]) == ({"a": port}, [])


def test_a_second_up_moves_no_port_of_a_service_that_runs():
    """Bug prevented: the ports of Spark's pages are named otherwise than its services, and a second `up` moved them."""
    with ExitStack() as held:
        kept = {name: held.enter_context(listener()).getsockname()[1] for name in PORT_NAMES}
        assert choose(PORT_NAMES, kept, ports_of(PORTS)) == (kept, [])
        without_spark = {name for name in PORTS if not name.startswith("spark-")}
        moved = choose(PORT_NAMES, kept, ports_of(without_spark))[1]
        assert moved == ["spark-master", "spark-master-page", "spark-worker-1-page", "spark-worker-2-page"]


def test_a_service_without_a_port_holds_none():
    assert ports_of(["daemon", "access"]) == set()
