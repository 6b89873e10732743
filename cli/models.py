"""`darkroom models`: the versions of a model, and a person's word on which of them names images.

Training promotes by itself what is better (docs/recognition.md). A person may decide otherwise, and says why: the move
is kept at the version, beside those that runs made. Nothing is changed without --yes.
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_settings, output, plainly
from cli.options import Who, Yes, insist_on_why, reason
from resources.job_names import RECOGNISE_JOB, train_job_name

if TYPE_CHECKING:
    from resources.registry import Registry, Version

MODEL = "digit_classifier"
AT_VERSION = "at the version"

model_commands = typer.Typer(no_args_is_help=True, help="Versions of the models, and which of them names images.")

Model = Annotated[str, typer.Option(help="Name of the registered model: digit_classifier, dominant_colour.")]
Why = Annotated[str, reason(AT_VERSION)]


def register(app: typer.Typer) -> None:
    """Add the group `models`."""
    app.add_typer(model_commands, name="models")
    model_commands.command("list")(list_versions)
    model_commands.command("promote")(promote_version)
    model_commands.command("rollback")(rollback)


@plainly
def list_versions(model: Model = MODEL) -> None:
    """The versions of a model, newest first: what they learned of, which is champion, and who made it that."""
    from rich.table import Table

    versions = _registry(model).versions(model)
    console = output()
    if not versions:
        console.print(f"There is no version of {model} yet: the job {train_job_name(model)} makes the first.")
        return
    shown = Table("version", "aliases", "registered (UTC)", "labelled images", "manifest", "moves", box=None)
    for one in versions:
        moves = "\n".join(f"{move['alias']} {move['when'][:19]} {move['who']}: {move['why']}" for move in one.moves)
        shown.add_row(
            one.version,
            ", ".join(one.aliases),
            f"{one.created_at:%Y-%m-%d %H:%M:%S}",
            one.tags.get("darkroom.labelled_images", ""),
            one.tags.get("darkroom.manifest", "")[:12],
            moves,
        )
    console.print(shown)


@plainly
def promote_version(
    version: Annotated[str, typer.Argument(help="The version to make champion; `darkroom models list` shows them.")],
    model: Model = MODEL,
    yes: Yes = False,
    why: Why = "",
    who: Who = None,
) -> None:
    """Make a version the champion, whatever the check says of it. A dry run unless --yes is given."""
    registry = _registry(model)
    _move(registry, registry.version(model, version), yes, why, who)


@plainly
def rollback(model: Model = MODEL, yes: Yes = False, why: Why = "", who: Who = None) -> None:
    """Make the champion's predecessor champion again; what is taken back does not return by itself. A dry run unless
    --yes is given."""
    from resources.failures import PermanentFailure
    from resources.registry import CHAMPION

    registry = _registry(model)
    champion = registry.at(model, CHAMPION)
    if champion is None:
        raise PermanentFailure(
            f"There is no champion of {model}: nothing to take back. The job {train_job_name(model)} makes one."
        )
    before = [move["before"] for move in champion.moves if move["alias"] == CHAMPION and move["before"]]
    if not before:
        raise PermanentFailure(
            f"Version {champion.version} of {model} is the first champion: there is none before it to go back to. "
            "`darkroom models promote VERSION` names another."
        )
    _move(registry, registry.version(model, before[-1]), yes, why, who)


def _move(registry: Registry, to: Version, yes: bool, why: str, who: str | None) -> None:
    from resources.registry import CHAMPION

    insist_on_why(yes, why, AT_VERSION)
    console, now = output(), registry.at(to.model, CHAMPION)
    said = f"version {now.version}" if now is not None else "none"
    if now is not None and now.version == to.version:
        console.print(f"Version {to.version} of {to.model} is the champion already; nothing to do.")
        return
    # A version whose file is gone would name nothing: said before it is made champion.
    registry.load(to)
    if not yes:
        console.print(f"Champion of {to.model}: {said}; it would be version {to.version}.", soft_wrap=True)
        console.print("To do it: the same with --yes --why TEXT", soft_wrap=True)
        return
    registry.move(to, CHAMPION, who=who or getpass.getuser(), why=why.strip())
    console.print(
        f"Champion of {to.model}: {said} before, version {to.version} now. It names the living days at the next run of "
        f"{RECOGNISE_JOB}.",
        soft_wrap=True,
    )


def _registry(model: str) -> Registry:
    """MLflow, once it has that model, or could.

    Raises:
        PermanentFailure: no family has a model of that name, and MLflow has none; lists the families'.
    """
    from resources.failures import PermanentFailure
    from resources.mlflow_registry import open_registry
    from transforms.families import FAMILIES

    registry = open_registry(current_settings())
    names = [family.name for family in FAMILIES]
    if model not in names and not registry.versions(model):
        raise PermanentFailure(f"There is no model {model!r}. Valid ones for --model: {', '.join(names)}.")
    return registry
