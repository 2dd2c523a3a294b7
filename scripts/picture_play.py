"""Photograph the page of `breaknet play` for the README: python scripts/picture_play.py

Real MNIST, real Chromium (CHROMIUM= or on the PATH): two settings side by side, and a drawn digit.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "play.png"
LINK = "?break=shuffle_labels%280.6%29&examples=5000&epochs=30&pin=examples%3D5000%26epochs%3D30"
WIDTH, HEIGHT = 1280, 760


def main() -> None:
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    command = [sys.executable, "-m", "breaknet", "play", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().split()[1]
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(address + LINK)
            page.wait_for_selector('section[aria-label="Pinned A"] [data-accuracy]', timeout=120_000)
            page.wait_for_selector('.bn-status[data-phase="done"]', timeout=120_000)
            page.screenshot(path=PICTURE, animations="disabled")
            browser.close()
    finally:
        server.terminate()
        server.wait()
    print(PICTURE)


if __name__ == "__main__":
    main()
