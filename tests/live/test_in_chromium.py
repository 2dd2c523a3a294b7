"""The page in headless Chromium: knobs, curves, drawing, pins, links, two browsers, narrow and wide, light and dark."""

import csv
import io
import re
import socket
from urllib.parse import urlsplit

import pytest
from chromium import browser, need_chromium, serving
from tiny import tiny_digits, write_tiny_idx

import breaknet

DONE = '.bn-status[data-phase="done"]'
PINNED = 'section[aria-label="Pinned A"] [data-accuracy]'

#: Milliseconds that anything may take on a machine that has other things to do.
TIMEOUT = 120_000


@pytest.fixture(scope="module")
def chromium():
    need_chromium()
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    need_chromium()
    folder = tmp_path_factory.mktemp("play")
    with serving(write_tiny_idx(folder / "digits"), folder) as served:
        yield served


@pytest.fixture
def opened(chromium, server):
    """Open the page at a link; nothing may be asked of another machine, and no script may fail."""
    contexts, requests, problems = [], [], []

    def open_page(link: str = "", width: int = 1280, scheme: str = "light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(TIMEOUT)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("websocket", lambda opened: requests.append(opened.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(server[0] + link)
        page.wait_for_selector(DONE, timeout=TIMEOUT)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems
    hosts = {urlsplit(url).hostname for url in requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    asked = [line for line in server[2].read_text().splitlines() if "127.0.0.1" not in line]
    assert not [line for line in asked if "localhost" not in line], asked


def accuracy(page) -> float:
    return float(page.locator("[data-accuracy]").first.get_attribute("data-accuracy"))


def wait_for(page, link_part: str) -> None:
    """Until a link's run is shown, at its end."""
    page.wait_for_function("part => location.search.includes(part)", arg=link_part, timeout=TIMEOUT)
    page.wait_for_function("""() => !document.querySelector(".bn-old")
        && document.querySelector('.bn-status[data-phase="done"]')""", timeout=TIMEOUT)  # fmt: skip


def draw_a_one(page) -> None:
    board = page.locator(".bn-board")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    page.mouse.move(box["x"] + 110, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 105, box["y"] + 180, steps=4)
    page.mouse.up()


def test_a_lesson_with_the_page(opened, server):
    """The short form of all that follows: a slider, the accuracy, a drawing, a pin, ten drags, the link."""
    page = opened("?epochs=5&examples=300")
    digits = tiny_digits()
    digits = breaknet.Digits(digits.train, digits.valid, digits.test, digits.source)
    run = breaknet.train(digits.train[:300], valid=digits.valid, epochs=5)
    assert accuracy(page) == pytest.approx(run.valid_accuracy[-1], abs=1e-6)

    page.locator('[name="pin"]').click()
    page.wait_for_selector(PINNED)
    fraction = page.locator('input[type="range"][name="fraction"]')
    fraction.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    wait_for(page, "break=shuffle_labels%280.4%29")
    broken = breaknet.shuffle_labels(digits.train[:300], 0.4)
    expected = breaknet.train(broken, valid=digits.valid, epochs=5)
    assert accuracy(page) == pytest.approx(expected.valid_accuracy[-1], abs=1e-6)
    assert float(page.locator("[data-accuracy]").nth(1).get_attribute("data-accuracy")) == pytest.approx(
        run.valid_accuracy[-1], abs=1e-6
    )

    draw_a_one(page)
    page.wait_for_selector("td[data-output]")
    assert page.locator("td[data-output]").count() == 20  # ten outputs, of two networks

    epochs = page.locator('input[type="range"][name="epochs"]')
    epochs.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    settled = page.locator('input[type="number"]').last.input_value()
    assert int(settled) > 5
    wait_for(page, f"epochs={settled}")
    assert page.locator(".bn-status").inner_text().startswith(f"Trained: epoch {settled} of {settled}")

    shown = accuracy(page)
    again = opened(urlsplit(page.url).query and "?" + urlsplit(page.url).query)
    again.wait_for_selector(PINNED)
    assert accuracy(again) == shown
    assert again.locator(".bn-what").all_inner_texts() == page.locator(".bn-what").all_inner_texts()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(width, scheme, opened, tmp_path):
    page = opened("?break=flip_labels%280.5%29&pin=epochs%3D3", width, scheme)
    page.wait_for_selector(PINNED)
    draw_a_one(page)
    page.wait_for_selector("td[data-output]")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for plot in page.locator(".bn-plot").all():
        label = plot.get_attribute("aria-label")
        assert re.match(r"(Cost|Accuracy), \d+ epochs\. At the end: training .*, validation .*", label), label
        assert {"epoch"} <= set(plot.locator("text").all_text_contents())
    assert "chance, 10 %" in page.locator(".bn-legend").first.inner_text()
    picture = page.screenshot(full_page=True)
    assert len(picture) > 50_000
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(253, 253, 251)", "dark": "rgb(22, 24, 27)"}[scheme]


@pytest.mark.slow
def test_plots_and_board_by_keyboard(opened):
    page = opened("?epochs=6&examples=300")
    page.locator(".bn-plot").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".bn-readout").first.inner_text().startswith("epoch 1: training ")
    page.keyboard.press("End")
    assert page.locator(".bn-readout").first.inner_text().startswith("epoch 5: ")
    page.locator(".bn-board").focus()
    page.keyboard.press("Space")
    for _ in range(8):
        page.keyboard.press("ArrowDown")
    page.wait_for_selector("td[data-output]")
    page.keyboard.press("Delete")
    page.wait_for_function("() => !document.querySelector('td[data-output]')")


@pytest.mark.slow
def test_knobs_keep_the_focus_when_they_are_built_anew(opened):
    page = opened("?epochs=6&examples=300")
    focused = "document.activeElement.name"
    page.locator('select[name="add"]').focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "Enter"):  # the first opens the list
        page.keyboard.press(key)
    wait_for(page, "pixel_noise")
    assert page.locator(".bn-step legend").all_inner_texts() == ["shuffle labels", "pixel noise"]
    assert page.evaluate(focused) == "add"
    page.get_by_role("button", name="remove pixel_noise").press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.bn-step').length === 1")
    assert page.evaluate(focused) == "add"
    story = page.locator('select[name="story"]')
    story.focus()
    for number in (1, 2):
        page.keyboard.press("ArrowDown")
        page.wait_for_function(
            "number => { const e = document.activeElement; return e.name === 'story' && e.selectedIndex === number; }",
            arg=number,
        )


@pytest.mark.slow
def test_the_outcome_is_hidden_until_it_was_guessed(opened):
    page = opened("?epochs=6&examples=300")
    page.locator('[name="predict"]').check()
    page.locator('input[type="range"][name="fraction"]').focus()
    page.keyboard.press("End")
    page.wait_for_selector('[name="reveal"]')
    wait_for(page, "shuffle_labels%281%29")
    assert page.locator("[data-accuracy]").count() == 0
    assert "%" not in page.locator(".bn-status").inner_text()
    assert not page.locator(".bn-confusion").count()
    assert "shuffle_labels(1)" in page.locator(".bn-what").first.inner_text()
    plot = page.locator(".bn-plot").first
    plot.focus()
    page.keyboard.press("Home")
    for _ in range(8):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    page.locator('[name="said"]').fill("it stays at a tenth")
    page.locator('[name="reveal"]').click()
    page.wait_for_selector("[data-accuracy]")
    assert "your guess" in page.locator(".bn-legend").first.inner_text()
    assert "it stays at a tenth" in page.locator(".bn-run").first.inner_text()
    page.wait_for_function("() => location.search.includes('guess=')")
    again = opened("?" + urlsplit(page.url).query)
    assert "your guess" in again.locator(".bn-legend").first.inner_text()
    assert again.locator(".bn-guess").first.get_attribute("d") == page.locator(
        ".bn-guess"
    ).first.get_attribute("d")


@pytest.mark.slow
def test_what_is_kept_is_what_is_shown(opened, tmp_path, monkeypatch):
    page = opened("?epochs=4&examples=300&break=flip_labels%280.2%29&pin=epochs%3D3")
    page.wait_for_selector(PINNED)
    page.wait_for_selector(DONE)
    kept = {}
    for name in ("PNG", "CSV", "Python"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save {name}").click()
        path = tmp_path / name
        download.value.save_as(path)
        kept[name] = path.read_bytes()
    assert kept["PNG"].startswith(b"\x89PNG")
    assert len(kept["PNG"]) > 50_000
    rows = list(csv.DictReader(io.StringIO(kept["CSV"].decode())))
    assert [row["run"] for row in rows] == 4 * ["Current"] + 3 * ["Pinned A"]
    digits = tiny_digits()
    monkeypatch.setattr(breaknet, "load_mnist", lambda *_: digits)
    names: dict = {}
    exec(kept["Python"].decode(), names)
    found = [float(row["valid_accuracy"]) for row in rows[:4]]
    assert found == pytest.approx(names["run"].valid_accuracy.tolist(), abs=1e-6)


@pytest.mark.slow
def test_every_breakage_and_every_story_can_be_chosen(opened):
    page = opened("?epochs=2&examples=200")
    add = page.locator('select[name="add"]')
    names = add.locator("option").all_inner_texts()[1:]
    assert len(names) == 15
    assert names[0] == "shuffle_labels"
    for name in names[1:]:
        page.locator('select[name="add"]').select_option(name)
    wait_for(page, names[-1])
    assert page.locator(".bn-step").count() == 15
    page.get_by_role("button", name=f"apply {names[-1]} earlier").click()
    page.get_by_role("button", name="remove shuffle_labels").click()
    page.wait_for_function("() => document.querySelectorAll('.bn-step').length === 14")
    stories = page.locator('select[name="story"] option').all_inner_texts()[1:]
    for story in (stories[3], stories[-1]):
        page.locator('select[name="story"]').select_option(story)
        page.wait_for_function("() => document.querySelector('.bn-question')?.textContent.endsWith('?')")


@pytest.mark.slow
def test_two_browsers_have_their_own_state(opened):
    first, second = opened("?epochs=3&examples=200"), opened("?epochs=4&examples=250")
    texts = [page.locator(".bn-what").first.inner_text() for page in (first, second)]
    assert "200 examples" in texts[0]
    assert "250 examples" in texts[1]
    first.locator('input[type="range"][name="fraction"]').focus()
    first.keyboard.press("End")
    wait_for(first, "shuffle_labels%281%29")
    assert second.locator(".bn-what").first.inner_text() == texts[1]


@pytest.mark.slow
def test_a_refused_link_says_why_and_the_page_stands(opened):
    page = opened("?epochs=99999")
    assert "epochs: 1 to 2,000, not 99999" in page.locator(".bn-status").inner_text()
    assert page.locator('input[type="range"][name="epochs"]').count() == 1
    number = page.locator('label:has([name="epochs"]) input[type="number"]')
    number.fill("0")
    number.press("Enter")
    page.wait_for_selector('.bn-status[data-phase="error"]')
    assert "epochs: 1 to 2,000, not 0" in page.locator(".bn-status").inner_text()


@pytest.mark.slow
def test_a_page_waits_for_a_server_that_comes_back(chromium, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    digits = write_tiny_idx(tmp_path / "digits")
    page = chromium.new_page()
    page.set_default_timeout(TIMEOUT)
    with serving(digits, tmp_path, "--port", port) as (address, _, _):
        page.goto(address + "?epochs=3&examples=200")
        page.wait_for_selector(DONE, timeout=TIMEOUT)
    page.wait_for_selector('.bn-status[data-phase="failed"]')
    with serving(digits, tmp_path, "--port", port):
        page.wait_for_selector(DONE, timeout=TIMEOUT)
        assert "200 examples" in page.locator(".bn-what").inner_text()
    page.close()
