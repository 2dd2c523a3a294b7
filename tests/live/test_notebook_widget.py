"""`breaknet.play()`: in a kernel through nbclient, and in a real JupyterLab in Chromium."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from chromium import browser, need_chromium
from nbclient import NotebookClient
from tiny import tiny_digits, write_tiny_idx

import breaknet

LINK = "break=flip_labels(0.2)&epochs=4&examples=300"


def notebook(data) -> nbformat.NotebookNode:
    cells = [
        f"import breaknet\nwidget = breaknet.play({str(data)!r}, link={LINK!r})\nwidget",
        "import time\n"
        "widget.wanted = {'link': widget.start, 'pins': ['epochs=2&examples=300'], 'drawing': ''}\n"
        "ends = time.monotonic() + 240\n"
        "while (widget.status['phase'] != 'done' or len(widget.runs) < 2) and time.monotonic() < ends:\n"
        "    time.sleep(0.02)\n"
        "print(widget.runs[0]['curves']['valid_accuracy'][-1], [run['done'] for run in widget.runs])\n"
        "widget.close()",
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=kernel
    )


def expected() -> float:
    digits = tiny_digits()
    data = breaknet.break_data(digits.train[:300], "flip_labels(0.2)")
    return breaknet.train(data, valid=digits.valid, epochs=4).valid_accuracy[-1]


@pytest.mark.slow
def test_a_kernel_trains_what_is_wanted(tmp_path):
    book = notebook(write_tiny_idx(tmp_path / "digits"))
    NotebookClient(book, timeout=300, kernel_name="python3").execute()
    assert "application/vnd.jupyter.widget-view+json" in book.cells[0].outputs[0].data
    accuracy, _, done = book.cells[1].outputs[0].text.partition(" ")
    assert float(accuracy) == pytest.approx(expected(), abs=1e-6)
    assert json.loads(done) == [4, 2]


def test_wrong_arguments_are_one_line():
    with pytest.raises(ValueError, match=r"^epochs: 1 to 2,000, not 0$"):
        breaknet.play(tiny_digits(), link="?epochs=0&pin=&guess=1,2")
    with pytest.raises(TypeError, match=r"^link: text such as"):
        breaknet.play(tiny_digits(), link=5)
    with pytest.raises(ValueError, match=r"^backend: "):
        breaknet.play(tiny_digits(), backend="fast")


def test_the_widget_holds_what_a_session_emits():
    widget = breaknet.play(tiny_digits(), link=LINK, backend="torch")
    widget.wanted = {"link": LINK, "pins": [], "drawing": ""}
    ends = time.monotonic() + 120
    while widget.status["phase"] != "done" and time.monotonic() < ends:
        time.sleep(0.01)
    assert [run["done"] for run in widget.runs] == [4]
    assert widget.asked["settings"]["examples"] == 300
    widget.close()


@pytest.mark.slow
def test_the_page_in_jupyterlab(tmp_path):
    need_chromium()
    pytest.importorskip("jupyterlab")
    nbformat.write(notebook(write_tiny_idx(tmp_path / "digits")), tmp_path / "play.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path}"]
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(tmp_path),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path),
    }
    lab = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api")
        with browser() as chromium:
            page = chromium.new_page(viewport={"width": 1500, "height": 1000}, color_scheme="dark")
            page.set_default_timeout(120_000)
            page.set_default_navigation_timeout(120_000)
            page.goto(f"http://127.0.0.1:{port}/lab/tree/play.ipynb")
            page.wait_for_selector(".jp-CodeCell", timeout=120_000)
            page.locator(".jp-CodeCell .cm-content").first.click()
            page.wait_for_function(
                "() => document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'",
                timeout=120_000,
            )
            page.keyboard.press("Shift+Enter")
            page.wait_for_selector('.bn-status[data-phase="done"]', timeout=120_000)
            shown = page.locator(".bn [data-accuracy]").first
            assert float(shown.get_attribute("data-accuracy")) == pytest.approx(expected(), abs=1e-6)
            fraction = page.locator('.bn input[type="range"][name="fraction"]')
            fraction.focus()
            before = fraction.input_value()
            for _ in range(3):
                page.keyboard.press("ArrowRight")  # Lab takes the arrow keys, if it is let
            assert float(fraction.input_value()) == pytest.approx(float(before) + 0.03)
            page.wait_for_function("() => document.querySelector('.bn-what').textContent.includes('0.23')")
            light = page.evaluate("document.body.dataset.jpThemeLight")
            background = page.evaluate("getComputedStyle(document.querySelector('.bn')).backgroundColor")
            assert (light, background) == ("true", "rgb(253, 253, 251)")  # Lab is light in a dark system
    finally:
        lab.terminate()
        try:
            lab.wait(60)
        finally:
            lab.kill()
            lab.wait()


def _wait_for(address: str) -> None:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail("JupyterLab does not answer")
