import re
import runpy
from pathlib import Path

import pytest


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
    readme = (repository / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", readme)
    local = [first or second for first, second in links if not (first or second).startswith("http")]
    assert local
    for link in local:
        assert (repository / link).exists(), link


def test_every_make_target_named_is_there(repository):
    targets = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|\b)make ([a-z-]+)", (repository / "README.md").read_text()))
    assert {"lesson", "test"} <= named <= targets
