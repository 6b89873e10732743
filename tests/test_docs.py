"""Pages that are written from the code say what the code says; pages that name files name files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import grimp
import pytest
from typer.main import get_command

from access.policy import load_policy
from access.postgres_grants import markdown_matrix
from cli.main import app
from cli.settings import page
from stack import spark_cluster
from stack.service_names import STOP_WAVES
from transforms.shop_rows import FILES
from transforms.tables import TABLES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_page_of_settings_is_what_the_command_prints() -> None:
    written = (ROOT / "docs" / "settings.md").read_text()
    assert written == page(), "write it anew: darkroom settings --markdown > docs/settings.md"


def test_the_matrix_of_the_shops_rights_is_what_the_policy_says() -> None:
    written = (ROOT / "docs" / "shop.md").read_text()
    assert markdown_matrix(load_policy(), "shop") in written, (
        "write it anew from access.postgres_grants.markdown_matrix"
    )


def test_the_page_of_the_shop_names_every_column_of_its_files() -> None:
    written = (ROOT / "docs" / "shop.md").read_text()
    for file in FILES:
        assert f"| `{file.name}` | {', '.join(f'`{name}`' for name in file.names)} |" in written


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_that_a_page_links_to_exists(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert missing == []


def test_every_proof_in_the_status_table_is_a_file_that_exists() -> None:
    named = set(re.findall(r"`((?:tests|benchmarks)/[\w/.]+)`", (ROOT / "docs" / "STATUS.md").read_text()))
    assert named, "the table names no proof at all"
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", ["STATUS.md", "scd2.md", "security-review.md"])
def test_every_test_that_a_page_names_as_proof_is_one_of_its_file(name: str) -> None:
    missing = []
    text = (ROOT / "docs" / name).read_text()
    for path, words in re.findall(r"`(tests/[\w/.]+)`([^`|]*)", text):
        tests = re.findall(r"\btest_\w+", words)
        source = (ROOT / path).read_text()
        missing += [f"{path} {test}" for test in tests if f"def {test}(" not in source]
        assert tests, f"the page names {path} without saying which of its tests"
    assert missing == []


def test_every_command_that_a_page_names_exists_with_its_options() -> None:
    known = {name: {option for one in command.params for option in one.opts} for name, command in _commands().items()}
    wrong = []
    for path in PAGES:
        for line in re.findall(r"(?:`|^|\$\()(?:\.venv/bin/)?darkroom ([a-z][^`\n#)|]*)", path.read_text(), re.M):
            words = line.split()
            name, options = words[0].rstrip(",.;:"), {word.rstrip(",.;:]").lstrip("[") for word in words[1:]}
            if line == "key 1":
                continue  # a constant of the key store's format, and no command
            if name not in known:
                wrong.append(f"{path.name}: darkroom {line}")
                continue
            command = _commands()[name]
            if isinstance(command, click.Group) and len(words) > 1:
                inner = command.commands.get(words[1].rstrip(",.;:"))
                if inner is None:
                    wrong.append(f"{path.name}: darkroom {line}")
                    continue
                known[name] = {option for one in inner.params for option in one.opts}
            unknown = {word for word in options if word.startswith("-")} - known[name] - {"--help"}
            wrong += [f"{path.name}: darkroom {name} has no {option}" for option in sorted(unknown)]
    assert wrong == []


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in _commands() if not re.search(rf"`[^`\n]*\b{re.escape(name)}\b[^`\n]*`", text)] == []


def _commands() -> dict[str, click.Command]:
    group = get_command(app)
    assert isinstance(group, click.Group)
    return group.commands


ROOMS = ["transforms", "access", "resources", "platform_assets", "sensors", "services", "stack", "cli"]


def test_the_page_of_the_architecture_is_what_stands_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    graph = grimp.build_graph(*ROOMS)
    imports: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module in graph.modules:
        room = module.split(".")[0]
        imports[room] |= {one.split(".")[0] for one in graph.find_modules_directly_imported_by(module)} - {room}
    for room, below in imports.items():
        said = ", ".join(f"`{one}/`" for one in sorted(below)) or "nothing"
        assert f"| `{room}/` | {said} |" in page
    processes = {name for wave in STOP_WAVES for name in wave} - {*spark_cluster.WORKERS}
    assert {name for name in processes if f"`{name}`" not in page} == set()
    assert {name for name in load_policy().identities if f"`{name}`" not in page} - {"operator", "shop"} == set()
    assert {spec.name for spec in TABLES if f"`{spec.name}`" not in page} == set()
    files = re.findall(rf"`((?:{'|'.join(ROOMS)})/[\w/.]+\.\w+)`", page)
    assert [name for name in files if not (ROOT / name).exists()] == []
