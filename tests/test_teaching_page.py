"""The teacher's page names headings, messages and files that exist."""

import re
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "teaching.md").read_text()


def rows(page: str, heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without header and rule."""
    part = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize("minutes", [45, 90])
def test_a_plan_adds_up_and_names_headings_of_the_notebook(page, repository, minutes):
    plan = rows(page, f"{minutes} minutes")
    assert sum(int(row[0]) for row in plan) == minutes
    source = (repository / "notebooks" / "breaking_a_neural_network.py").read_text()
    headings = {text.strip() for text in re.findall(r"^# #+ (.+)$", source, re.MULTILINE)}
    named = {text for row in plan for text in re.findall(r'"([^"]+)"', row[2])}
    assert named
    assert named <= headings


def test_messages_that_a_class_sees_are_those_of_the_program(page, repository):
    folders = [repository / name for name in ("breaknet", "scripts")]
    sources = "\n".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    quoted = [
        text for row in rows(page, "What goes wrong in class") for text in re.findall(r'"([^"]+)"', row[0])
    ]
    assert len(quoted) >= 4
    assert [text for text in quoted if text not in sources] == []


def test_files_that_it_names_are_there(page, repository):
    named = set(re.findall(r"`(\w+\.ipynb)`", page))
    assert len(named) >= 4
    assert [name for name in named if not (repository / "notebooks" / name).exists()] == []
