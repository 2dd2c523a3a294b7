"""Compile every kernel with several versions of Triton, each in an environment of its own, and compare.

    python scripts/triton_versions.py [--targets sm_75 sm_90] [--versions 3.6.0 3.7.1] [--folder DIR]

The versions are by default the last 3.5, 3.6.0, the last 3.7 and the newest on the package index. An environment
holds that Triton and borrows everything else, torch above all, from the one that runs this script. What it compiles
for a T4 is also run, by the machine for PTX. Prints a line for each version and then what is wrong with it; the exit
status is 1 if a kernel does not compile, spills, takes more shared memory than a target has or does not compute what
it should. No GPU is used.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SCENARIOS = REPOSITORY / "tests" / "ptx_machine" / "kernel_scenarios.py"
RUN_TARGET = "sm_75"


def published() -> list[tuple[int, ...]]:
    """Every final version of Triton on the package index, oldest first."""
    command = [sys.executable, "-m", "pip", "index", "versions", "triton"]
    done = subprocess.run(command, capture_output=True, text=True)
    listed = re.search(r"Available versions: (.*)", done.stdout)
    if done.returncode or listed is None:
        sys.exit(f"the package index lists no versions of triton: {done.stderr.strip()[-300:]}")
    return sorted(
        {tuple(map(int, version.split("."))) for version in re.findall(r"\d+\.\d+\.\d+", listed.group(1))}
    )


def default_versions() -> list[str]:
    """The last 3.5, 3.6.0 (as on Colab), the last 3.7, the newest."""
    known = published()
    chosen = {max(version for version in known if version[:2] == (3, minor)) for minor in (5, 7)}
    chosen |= {(3, 6, 0), known[-1]}
    return [".".join(map(str, version)) for version in sorted(chosen)]


def environment(version: str, folder: Path) -> Path:
    """The Python of an environment with this Triton, which is made once for each Python and kept."""
    home = folder / f"triton-{version}"
    python = home / "bin" / "python"
    finished = home / "finished"
    made_for = f"{sys.base_prefix}\n{sys.version}\n"
    if not finished.exists() or finished.read_text() != made_for:
        venv.create(home, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", f"triton=={version}"]
        subprocess.run(install, check=True)
        finished.write_text(made_for)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    # what a .pth names comes after the environment's own packages, so its Triton is found first; written every time,
    # for the environment that an earlier run borrowed from may be gone
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run without Triton's interpreter, from the repository's root."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment = {**inherited, **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPOSITORY)


def report(python: Path, targets: list[str]) -> tuple[list[dict], list[str]]:
    """The rows of the resource report under `python`, and what is wrong."""
    command = [str(python), "-m", "breaknet", "kernels", "--json", *(f"--target={name}" for name in targets)]
    done = run(command, PYTHONPATH=str(REPOSITORY))
    if done.returncode not in (0, 1) or not done.stdout.startswith("["):
        return [], [f"no report: {(done.stderr.strip().splitlines() or ['nothing said'])[-1]}"]
    # the compiler itself may say much more there
    problems = [line for line in done.stderr.splitlines() if re.search(r" on sm_\d+, Triton [\d.]+: ", line)]
    return json.loads(done.stdout), problems


def run_compiled(python: Path) -> tuple[str, str]:
    """The last line of the tests of compiled kernels, such as "24 passed", and all they print if one fails."""
    done = run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SCENARIOS)],
        BREAKNET_TEST_TARGET=RUN_TARGET,
    )
    last = (done.stdout.splitlines() or ["nothing said"])[-1]
    return last.split(" in ")[0], (done.stdout + done.stderr) if done.returncode else ""


def spills(row: dict) -> bool:
    """Whether a configuration keeps registers in local memory."""
    return bool(row["stack_bytes"] or row["spill_instructions"])


def over_limit(row: dict) -> bool:
    """Whether a configuration does not fit its target."""
    return row["shared_bytes"] > row["shared_limit_bytes"] or row["blocks_per_sm"] < 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--versions", nargs="+", metavar="X.Y.Z")
    parser.add_argument("--targets", nargs="+", default=[], metavar="sm_XX")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache/breaknet/triton-versions")
    options = parser.parse_args()
    wrong = []
    columns = (
        "configurations   spill   over a limit   not compiled   most registers   tests of compiled kernels"
    )
    print(f"Triton     {columns}", flush=True)
    for version in options.versions or default_versions():
        rows, problems = report(environment(version, options.folder), options.targets)
        spill = sum(spills(row) for row in rows)
        over = sum(over_limit(row) for row in rows)
        failed = len(problems) - sum(spills(row) or over_limit(row) for row in rows)
        most = max((row["registers"] for row in rows), default=0)
        ends, trace = run_compiled(environment(version, options.folder))
        print(f"{version:10}{len(rows):15}{spill:8}{over:15}{failed:15}{most:17}   {ends}", flush=True)
        if trace:
            problems.append(f"Triton {version}: {trace}")
        if any(row["triton"] != version for row in rows):
            problems.append(f"Triton {version}: another version was found first")
        if not rows:
            problems.append(f"Triton {version}: nothing was compiled")
        wrong += problems
    print("\n".join(wrong) or "nothing spills, nothing is over a limit, all runs right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
