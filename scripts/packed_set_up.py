# This unpacks breaknet from the cell above and installs it where it is missing. The torch there stays as it is.
import base64
import io
import lzma
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

FOLDER = Path(tempfile.mkdtemp(prefix="breaknet-"))
with tarfile.open(fileobj=io.BytesIO(lzma.decompress(base64.b64decode(PACKED)))) as archive:  # noqa: F821
    # Python before 3.11.4 knows no filters
    archive.extractall(FOLDER, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))

if not any(metadata.distributions(name="breaknet")):
    wheels = [str(wheel) for wheel in FOLDER.glob("*.whl")]
    torch = [f"torch=={found.version}" for found in metadata.distributions(name="torch")][:1]
    if not torch:
        print(
            "PyTorch is not here: fetching it takes some minutes and 1.5 GB, with CUDA's libraries several more."
        )
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    done = subprocess.run([*pip, *wheels, *torch], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"pip could not install breaknet:\n{done.stderr}")
