"""What every command needs to know: which stack is meant, and how an expected error is shown.

A command is a thin skin: it reads its options, calls one function of a room below, and prints. An error that was
expected (`PlatformFailure`) is one plain message and exit code 1; anything else is a bug and keeps its traceback. Heavy
rooms are imported inside the commands, so that `darkroom --help` answers at once.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer
from rich.console import Console

if TYPE_CHECKING:
    from resources.directory_people import People
    from resources.settings import Settings
    from resources.topics import Topic

HOME_VARIABLE = "DARKROOM_HOME"
DEFAULT_HOME = ".darkroom"

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def use_home(home: Path | None) -> None:
    """Make `--home` this process's DARKROOM_HOME, absolute, for settings and children alike."""
    chosen = home or Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)
    os.environ[HOME_VARIABLE] = str(chosen.expanduser().absolute())


def current_home() -> Path:
    """The absolute folder of the stack that this command is about."""
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().absolute()


def current_settings(identity: str = "operator") -> Settings:
    """Settings of a client of the running stack: its addresses, and the certificates of `identity`.

    Raises:
        StackError: there is no stack in this home; says how to start one.
    """
    from stack.state import stack_settings

    return stack_settings(current_home(), identity)


def current_topic(name: str | None) -> Topic:
    """The topic that an option names; the images' when None."""
    from resources.topics import images_topic, topic_named

    settings = current_settings()
    try:
        return images_topic(settings) if name is None else topic_named(settings, name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def current_people() -> People:
    """The running stack's own directory, as its administrator.

    Raises:
        StackError: there is no stack in this home, or it has no directory yet.
    """
    from stack.directory import DIRECTORY, people
    from stack.errors import StackError
    from stack.paths import Layout
    from stack.state import load_state

    home = current_home()
    port = load_state(home).ports.get(DIRECTORY)
    if port is None:
        raise StackError("This stack has no directory yet: `darkroom up` makes it.")
    return people(Layout(home), port)


def given_day(text: str) -> date:
    """The day that an argument or option names."""
    from transforms.names import parse_day

    day = parse_day(text)
    if day is None:
        raise typer.BadParameter(f"{text!r} is no day; one is written 2026-03-14.")
    return day


def output() -> Console:
    """Where results go: standard output."""
    return Console(highlight=False)


def messages() -> Console:
    """Where progress and errors go: standard error, so that results can be piped."""
    return Console(stderr=True, highlight=False)


def plainly(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a command so that an expected error is one sentence and exit code 1, without a traceback."""

    @functools.wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        from resources.failures import PlatformFailure

        try:
            return command(*args, **kwargs)
        except PlatformFailure as error:
            messages().print(f"[bold red]error[/] {_escape(str(error))}", soft_wrap=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            messages().print("interrupted")
            raise typer.Exit(130) from None

    return wrapped


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
