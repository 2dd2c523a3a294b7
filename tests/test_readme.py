"""Whatever the documents name is there: pictures, pages, targets, definitions, commands and options."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"")


@pytest.fixture(scope="module")
def colab(repository: Path) -> dict:
    return runpy.run_path(str(repository / "scripts" / "render_colab.py"))


def test_colab_lines_come_from_the_setting(repository, colab):
    readme = (repository / "README.md").read_text()
    assert readme == colab["rendered"](readme, colab["address"]())


def test_an_address_takes_the_place_of_the_upload(repository, colab):
    readme = (repository / "README.md").read_text()
    with_address = colab["rendered"](readme, "https://example.org/somebody/breaknet")
    assert "pip install -q git+https://example.org/somebody/breaknet" in with_address
    assert "upload" not in colab["colab_lines"]("https://example.org/somebody/breaknet")


def test_every_picture_and_page_named_is_there(repository):
    pages = list(repository.glob("*.md"))
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text())]
    local = [
        page.parent / (first or second) for page, (first, second) in links if "://" not in first + second
    ]
    assert len(local) >= len(pages)
    assert [str(path) for path in local if not path.exists()] == []


def test_every_make_target_named_is_there(repository):
    targets = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(), re.MULTILINE))
    for page, some in (("README.md", {"lesson", "test"}), ("CONTRIBUTING.md", {"check", "bench"})):
        named = set(re.findall(r"(?:`|^|\n)make ([a-z-]+)", (repository / page).read_text()))
        assert some <= named <= targets


def test_links_to_definitions_lead_there(repository):
    script = runpy.run_path(str(repository / "scripts" / "renew_documents.py"))
    assert script["main"](check=True) == 0, "run python scripts/renew_documents.py"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- files: . -->\nprose\n<!-- table: x -->\n<!-- end -->\n", "has a list without an end"),
        ("<!-- files: . -->\nprose\n", "has a list without an end"),
        ("<!-- files: gone -->\n<!-- end -->\n", "where no Python file is"),
        ("<!-- files: . -->\n<!-- end -->\n", "begins with neither docstring nor comment"),
        ("[`absent`](nameless.py#L3)", "defines no absent"),
    ],
)
def test_what_cannot_be_renewed_is_refused(repository, tmp_path, text, message):
    script = runpy.run_path(str(repository / "scripts" / "renew_documents.py"))
    (tmp_path / "nameless.py").write_text("import os\n")
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(SystemExit, match=message):
        script["renewed"](page)
    (tmp_path / "nameless.py").write_text('"""Its job."""\n')
    page.write_text("a\n<!-- files: . -->\nold\n<!-- end -->\nz\n")
    assert script["renewed"](page) == (
        "a\n<!-- files: . -->\n* [`nameless.py`](nameless.py): Its job.\n<!-- end -->\nz\n"
    )


def test_the_breakages_are_as_many_as_pages_say(repository):
    from breaknet.breakage import BREAKAGES

    pages = [*repository.glob("*.md"), *repository.glob("docs/*.md"), repository / "notebooks" / "README.md"]
    assert sum("fifteen" in page.read_text() for page in pages) == 5
    assert len(BREAKAGES) == 15


def test_every_command_and_option_named_is_there(repository):
    """In the README, the documents and the notebooks' page: `breaknet COMMAND --option ...`."""
    from typer.main import get_command

    from breaknet.cli.commands import app

    commands = get_command(app).commands
    pages = [repository / "README.md", *repository.glob("docs/*.md"), repository / "notebooks" / "README.md"]
    found = []
    for page in pages:
        text = page.read_text()
        for code in [
            *re.findall(r"`(breaknet [^`]+)`", text),
            *re.findall(
                r"^(breaknet .+)$", "".join(re.findall(r"^```.*?^```", text, re.S | re.M)), re.MULTILINE
            ),
        ]:
            _, *words = shlex.split(" ".join(code.split()), comments=True)
            if not words or not re.fullmatch("[a-z]+", words[0]):
                continue
            found.append(words[0])
            assert words[0] in commands, f"{page.name}: {code}"
            known = {name for parameter in commands[words[0]].params for name in parameter.opts}
            named = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert named <= known, f"{page.name}: {code}"
    assert {"lesson", "train", "bench", "doctor"} <= set(found)
