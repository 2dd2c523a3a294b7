"""Substitutes for drawn figures, so that tests of the report's words need not draw."""

import pytest
from report_page import SVG, Page

from breaknet.lesson.figures import FIGURES
from breaknet.lesson.report import render_report
from breaknet.lesson.report_questions import place_of


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A lesson's folder with substitutes for all figures."""
    folder = tmp_path_factory.mktemp("lesson")
    for name in FIGURES:
        path = folder / place_of(name) / f"{name}.svg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(SVG % name.encode())
    return folder


@pytest.fixture
def page_of(drawn):
    """Renders results with substitutes for the figures, and parses the page."""
    return lambda results: Page(render_report(results, None, drawn))
