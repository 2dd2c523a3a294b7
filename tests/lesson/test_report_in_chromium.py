"""The report in a browser: nothing sticks out sideways, narrow or wide, and every picture is shown."""

import html
import re
import shutil
import subprocess

import numpy as np
import pytest
from lesson_results import made_results

from breaknet.lesson.figures import FIGURES, draw_figure, png_bytes, sample_digits
from breaknet.lesson.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("source", ["MNIST", "local: " + 90 * "long"])
def test_no_horizontal_overflow_in_chromium(width, source, tmp_path):
    samples = png_bytes(sample_digits(np.zeros((20, 784), np.uint8), np.arange(20) % 10, np.zeros(20, int)))
    results = made_results(data_source=source)
    for name in FIGURES:
        draw_figure(results, name, tmp_path / "figures")
    page = write_report(results, samples, tmp_path).read_text(encoding="utf-8")
    unfolded = html.escape(page.replace("<details>", "<details open>"))
    # Chromium's windows are never narrower than 500 pixels, a frame in one can be
    frame = f'<!DOCTYPE html><meta charset="utf-8"><iframe srcdoc="{unfolded}" width="{width}"></iframe>'
    script = """<script>onload = () => {
        const page = document.querySelector("iframe").contentDocument;
        const broken = [...page.images].filter((image) => !image.naturalWidth).length;
        const root = page.documentElement;
        const widths = [innerWidth, root.clientWidth, root.scrollWidth];
        document.title = [...widths, page.images.length, broken].join(" ");
    }</script>"""
    (tmp_path / "frame.html").write_text(frame + script, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking"
    flags += " --disable-component-update --disable-sync --no-first-run"
    flags += f" --hide-scrollbars --window-size=1400,1000 --user-data-dir={tmp_path}/user"
    command = [CHROMIUM, *flags.split(), "--dump-dom", (tmp_path / "frame.html").as_uri()]
    dump = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"<title>(\d+) (\d+) (\d+) (\d+) (\d+)</title>", dump)
    assert found, dump[-500:]
    window, inner, scroll, images, broken = map(int, found.groups())
    assert window == 1400
    assert inner in (width, width + 4)  # an iframe's border may or may not count
    assert scroll <= inner
    assert (images, broken) == (8, 0)
