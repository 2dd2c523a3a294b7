"""Substitutes for drawn figures, so that tests of the report's words need not draw."""

import pytest
from report_page import SVG, Page

from breaknet.lesson.figures import FIGURES
from breaknet.lesson.report import render_report


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder of substitutes for all figures."""
    folder = tmp_path_factory.mktemp("lesson") / "figures"
    folder.mkdir()
    for name in FIGURES:
        (folder / f"{name}.svg").write_bytes(SVG % name.encode())
    return folder


@pytest.fixture
def page_of(drawn):
    """Renders results with substitutes for the figures, and parses the page."""
    return lambda results: Page(render_report(results, None, drawn))
