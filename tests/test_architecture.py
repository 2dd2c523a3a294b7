"""Links from the documents lead to the definitions they name."""

import subprocess
import sys


def test_links_lead_to_definitions(repository):
    command = [sys.executable, "scripts/link_lines.py", "--check"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
