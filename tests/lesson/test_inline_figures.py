"""Figures inside a page: their colours follow it, and several can stand in it."""

import json
import re
from xml.etree import ElementTree

from lesson_results import made_results, with_capacity

from breaknet.lesson.figures import FIGURES, svg_bytes
from breaknet.lesson.inline_figures import axes_of, axes_text, inlined


def test_every_colour_is_a_variable_and_no_id_is_there_twice():
    results = with_capacity() | {"data_source": "local: mine"}
    ids = []
    for name, draw in FIGURES.items():
        text = inlined(svg_bytes(draw(results)).decode(), name, 'a "chart" <b>')
        root = ElementTree.fromstring(text)
        assert root.get("aria-label") == 'a "chart" <b>'
        assert root.get("width") is None
        assert root.get("viewBox")
        assert not re.findall("#[0-9a-f]{6}", text), name
        assert {"var(--ink)", "var(--line)"} <= set(re.findall(r"var\(--\w+\)", text))
        own = re.findall(r'\bid="([^"]+)"', text)
        used = re.findall(r'(?:url\(|href=")#([^")]+)', text)
        assert used
        assert set(used) <= set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_a_figure_says_where_its_axes_are():
    figure = FIGURES["clean_cost"](made_results())
    axes = axes_of(svg_bytes(figure).decode())
    assert axes == json.loads(axes_text(figure))
    assert axes["x"] == [0, 99]
    left, top, right, bottom = axes["area"]
    background = re.search(r'id="patch_2">\s*<path d="M ([\d.]+) ([\d.]+) ', svg_bytes(figure).decode())
    assert [float(value) for value in background.groups()] == [left, bottom]
    assert (top < bottom, right < 518.4) == (True, True)


def test_other_pictures_have_no_axes():
    assert axes_of("<svg/>") is None
    assert axes_of("<svg><dc:description>a chart</dc:description></svg>") is None
