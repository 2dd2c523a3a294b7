"""Runs lessons whose n-th file-changing call fails or kills the process; started by `test_fault_injection`.

    python faulty_lesson.py FOLDER FAULT NUMBER...

Each runs in a forked child on a copy of FOLDER/old at FOLDER/FAULT-NUMBER/out. FAULT "moment" kills it after NUMBER
milliseconds, wherever it is. FAULT "two" is no fault but two lessons into one folder, the second begun a little later.
Prints the number and the exit status of each child.
"""

import errno
import logging
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tiny import tiny_digits

from breaknet import DataError
from breaknet.lesson import figures
from breaknet.lesson.experiments import Lesson, Settings
from breaknet.lesson.output_folder import LessonFolder

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.truncate"}
ERRORS = {"full": errno.ENOSPC, "broken": errno.EIO}


def changes(event: str, arguments: tuple, folder: str) -> bool:
    if event == "open":
        path, _, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return bool(writes) and isinstance(path, (str, os.PathLike)) and folder in os.fspath(path)
    return event in CHANGES and folder in str(arguments[0])


def lesson(folder: Path, seed: int) -> None:
    settings = Settings(seed=seed, epochs_scale=0.02, backend="torch", device="cpu", learning_rate=0.05)
    LessonFolder(folder / "out").run(Lesson(tiny_digits(), settings))


def faulty(folder: Path, fault: str, number: int) -> int:
    """The number of changing calls that were made; `number` 0 is a lesson without a fault."""
    made = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal made
        if (event not in CHANGES and event != "open") or not changes(event, arguments, str(folder)):
            return
        made += 1
        if made == number:
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(ERRORS[fault], os.strerror(ERRORS[fault]))

    sys.addaudithook(hook)
    lesson(folder, seed=2)
    return made


def in_child(folder: Path, work: Callable[[], object]) -> int:
    """`work` in a child, by its process; status 0 for a whole lesson, 1 for a DataError, 2 for any other error."""
    process = os.fork()
    if process:
        return process
    status = 2
    try:
        work()
        status = 0
    except DataError:
        status = 1
    except BaseException:
        (folder / "traceback").write_text(traceback.format_exc())
    finally:
        os._exit(status)


def with_fault(folder: Path, fault: str, number: int) -> None:
    (folder / "made").write_text(str(faulty(folder, fault, number)))


def killed_after(folder: Path, seconds: float) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process, unnoticed by Python
    signal.setitimer(signal.ITIMER_REAL, seconds)
    lesson(folder, seed=2)


def delayed(folder: Path, seed: int, seconds: float) -> None:
    time.sleep(seconds)
    lesson(folder, seed)


def main() -> None:
    base, fault, *numbers = sys.argv[1:]
    # drawing takes most of the time, and what a first lesson imports the rest
    figures.png_bytes = figures.svg_bytes = lambda figure: b"<svg></svg>"
    logging.getLogger("breaknet").setLevel(logging.ERROR)
    with TemporaryDirectory() as first:
        lesson(Path(first), seed=0)
    for number in map(int, numbers):
        folder = Path(base) / f"{fault}-{number}"
        folder.mkdir()
        if (Path(base) / "old").exists():
            shutil.copytree(Path(base) / "old", folder / "out")
        if fault == "two":
            pauses = (0.0, 0.02 * (number % 25))
            works = [
                partial(delayed, folder, seed, pause) for seed, pause in zip((2, 3), pauses, strict=True)
            ]
        elif fault == "moment":
            works = [partial(killed_after, folder, number / 1000)]
        else:
            works = [partial(with_fault, folder, fault, number)]
        children = [in_child(folder, work) for work in works]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(number, *statuses, flush=True)


if __name__ == "__main__":
    main()
