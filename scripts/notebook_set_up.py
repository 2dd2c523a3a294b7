# On Google Colab, this installs breaknet and leaves the torch there as it is. Anywhere else, it does nothing.
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ADDRESS = ""  # of the project; while it is empty, breaknet comes from an uploaded wheel or a clone

if "google.colab" in sys.modules and not any(metadata.distributions(name="breaknet")):
    wheels = sorted(Path().glob("breaknet-*.whl"), key=lambda wheel: wheel.stat().st_mtime)
    clones = [path.parents[1] for path in Path().glob("*/breaknet/__init__.py")]
    if not (ADDRESS or wheels or clones):
        raise FileNotFoundError("Upload breaknet-*.whl (folder button on the left), then run this again.")
    source = f"git+{ADDRESS}" if ADDRESS else str((wheels[-1:] or clones)[0].resolve())
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    there = f"torch=={metadata.version('torch')}"
    done = subprocess.run([*pip, source, there], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"pip could not install {source}:\n{done.stderr}")
