"""Ports: kept, and chosen anew only where another process took them."""

from __future__ import annotations

import socket

from stack.ports import choose, is_free


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
