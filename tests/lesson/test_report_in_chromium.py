"""The report in a browser: nothing sticks out sideways, every picture is shown, and predictions are kept and scored."""

import html
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from lesson_results import with_capacity

from breaknet.lesson.figures import FIGURES, draw_figure, png_bytes, sample_digits
from breaknet.lesson.predictions import POINTS, allowed_miss, points, questions
from breaknet.lesson.report import write_report
from breaknet.lesson.report_questions import place_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def shown_by_chromium(page: Path, folder: Path, *flags: str) -> str:
    """The page's HTML after its scripts have run; a profile is kept in `folder`."""
    common = "--headless --no-sandbox --disable-gpu --disable-background-networking"
    common += " --disable-component-update --disable-sync --no-first-run"
    common += f" --hide-scrollbars --window-size=1400,1000 --user-data-dir={folder}/user"
    command = [CHROMIUM, *common.split(), *flags, "--dump-dom", page.as_uri()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        late = threading.Timer(120, process.kill)
        late.start()
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.endswith("</html>\n"):  # now and then Chromium writes everything and does not end
                break
        late.cancel()
        process.kill()
    return "".join(lines)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("source", ["MNIST", "local: " + 90 * "long"])
def test_no_horizontal_overflow_in_chromium(width, source, tmp_path):
    samples = png_bytes(sample_digits(np.zeros((20, 784), np.uint8), np.arange(20) % 10, np.zeros(20, int)))
    results = with_capacity() | {"data_source": source}
    for name in FIGURES:
        draw_figure(results, name, tmp_path / place_of(name))
    page = write_report(results, samples, tmp_path).read_text(encoding="utf-8")
    unfolded = html.escape(page.replace("<details", "<details open"))
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
    dump = shown_by_chromium(tmp_path / "frame.html", tmp_path)
    found = re.search(r"<title>(\d+) (\d+) (\d+) (\d+) (\d+)</title>", dump)
    assert found, dump[-500:]
    window, inner, scroll, images, broken = map(int, found.groups())
    assert window == 1400
    assert inner in (width, width + 4)  # an iframe's border may or may not count
    assert scroll <= inner
    assert (images, broken) == (1, 0)


#: Enters predictions in the report of a frame, looks at the outcome, reloads the frame, and saves the file.
STUDENT = """<!DOCTYPE html><meta charset="utf-8"><iframe src="report.html" width="800" height="900"></iframe><script>
const frame = document.querySelector("iframe");
const loaded = () => new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
const page = () => frame.contentDocument;
function write(key, text) {
  const field = page().getElementById(key);
  field.value = text;
  field.dispatchEvent(new Event("input"));
  return page().getElementById(`${key}-query`).textContent;
}
function pressKeys(...keys) {
  const axes = page().querySelector("[data-sketch=clean] svg");
  for (const key of keys) axes.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
}
const texts = (where) => [...page().querySelectorAll(where)].map((one) => one.textContent);
addEventListener("load", async () => {
  const seen = {};
  const open = () => page().querySelector("[data-experiment=clean] details.outcome");
  open().querySelector("summary").click();
  seen.asked = [open().open, texts("[data-status=clean]")[0]];
  seen.queries = [write("shuffled.train_accuracy", "0.1")];
  seen.queries.push(write("clean.train_cost", "much"), write("clean.train_cost", "0,5"));
  pressKeys("ArrowUp", ...Array(50).fill("ArrowRight"), "ArrowDown");
  pressKeys("Delete");
  open().querySelector("summary").click();
  await new Promise((resolve) => setTimeout(resolve, 300));
  seen.opened = open().open;
  frame.contentWindow.location.reload();
  await loaded();
  await new Promise((resolve) => setTimeout(resolve, 300));
  seen.kept = page().getElementById("clean.train_cost").value;
  seen.fixed = page().getElementById("clean.train_cost").disabled;
  seen.marks = texts("[data-figure=clean_cost] .mine text");
  seen.paths = page().querySelectorAll("[data-figure=clean_cost] .mine svg path").length;
  seen.scores = [...page().querySelectorAll("#scores tr")].map((row) => [...row.cells].map((cell) => cell.textContent));
  seen.total = texts("#total")[0];
  const name = page().getElementById("student");
  name.value = "Ada <b>";
  name.dispatchEvent(new Event("input"));
  let blob;
  frame.contentWindow.URL.createObjectURL = (one) => { blob = one; return "#"; };
  page().getElementById("export").click();
  seen.saved = [texts("#export-status")[0], await blob.text()];
  const shown = document.createElement("pre");
  shown.textContent = JSON.stringify(seen);
  document.body.replaceChildren(shown);
});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_student_predicts_looks_comes_back_and_saves(tmp_path):
    results = with_capacity()
    for name in FIGURES:
        draw_figure(results, name, tmp_path / place_of(name))
    write_report(results, None, tmp_path)
    (tmp_path / "student.html").write_text(STUDENT, encoding="utf-8")
    flags = "--allow-file-access-from-files", "--virtual-time-budget=20000"
    dump = shown_by_chromium(tmp_path / "student.html", tmp_path, *flags)
    found = re.search("<pre>(.*)</pre>", dump, re.DOTALL)
    assert found, dump[-500:]
    seen = json.loads(html.unescape(found[1]))
    assert seen["asked"][0] is False
    assert seen["asked"][1].startswith("No prediction yet.")
    assert seen["queries"] == [
        "0.1 %, or did you mean 10 %? For 10 %, write 10.", "A number, please, such as 12.5.", ""
    ]  # fmt: skip
    assert seen["opened"] is True
    assert (seen["kept"], seen["fixed"]) == ("0.5", True)
    assert (seen["marks"], seen["paths"]) == (["you: 0.5 ↑"], 1)
    saved = json.loads(seen["saved"][1])
    assert seen["saved"][0] == "Saved as predictions-Ada-b-.json."
    assert (saved["format"], saved["schema"], saved["student"]) == ("breaknet predictions", 1, "Ada <b>")
    curve = saved["predictions"]["clean.train_cost_curve"]
    assert curve == [*(POINTS - 1) * [0.624], None]
    assert saved["predictions"] == {
        "clean.train_cost": 0.5, "shuffled.train_accuracy": 0.1, "clean.train_cost_curve": curve
    }  # fmt: skip
    assert {key: pytest.approx(value) for key, value in saved["outcome"].items()} == {
        question.key: outcome for question, outcome in questions(results)
    }
    # the page scores as Python does
    rows = {row[0]: row for row in seen["scores"]}
    outcome = {question.key: value for question, value in questions(results)}
    expected = [
        points(guess, outcome[key], allowed_miss("cost", 100))
        for key, guess in (("clean.train_cost", 0.5), ("clean.train_cost_curve", curve))
    ]
    assert [int(rows[name][-1]) for name in ("training cost at the end", "training cost, curve")] == expected
    assert rows["validation cost at the end"][1:] == ["–", "0.0979", "–", "–"]
    assert seen["total"] == f"{sum(expected)} of 20 points for 2 of 5 predictions."


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_printed_it_is_a_worksheet_with_answers_only_on_the_teachers_page(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    results = with_capacity()
    for name in FIGURES:
        draw_figure(results, name, tmp_path / place_of(name))
    pages = [write_report(results, None, tmp_path, answers=answers) for answers in (False, True)]
    hidden = "details.outcome, path.outcome, .guess, #run-section, nav, input"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for page, most, shows in zip(pages, (11, 20), (False, True), strict=True):
            tab = browser.new_page()
            tab.goto(page.as_uri())
            if not shows:  # a student who has predicted and looked prints an empty sheet all the same
                tab.fill('[id="clean.train_cost"]', "0.5")
                tab.click("[data-experiment=clean] details.outcome > summary")
                assert tab.locator("[data-experiment=clean] [data-figure]").first.is_visible()
            tab.emulate_media(media="print")
            assert tab.locator("[data-experiment=clean] [data-figure]").first.is_visible() == shows
            assert tab.locator("figure.sketch svg").first.is_visible()
            seen = [one for one in tab.locator(hidden).all() if one.is_visible()]
            assert bool(seen) == shows
            sheets = len(re.findall(rb"/Type /Page\b", tab.pdf(format="A4", prefer_css_page_size=True)))
            assert 6 <= sheets <= most
        browser.close()
