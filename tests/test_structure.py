"""The shape of the repository: who imports whom, how long files are, how many files a call goes through."""

import ast
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from checks import random_labels, sparse_images

import breaknet
from breaknet.backends import select

REPOSITORY = Path(__file__).parents[1]

#: What is imported from where: folder, and the name of its modules; kernels/ is imported as breaknet.kernels.
FOLDERS = {
    folder: folder
    for folder in ("breaknet", "benchmarks", "tools", "notebooks", "scripts", "examples", "tests")
}
FOLDERS["kernels"] = "breaknet.kernels"

#: What backends stand on, each with what it imports.
BASE = {
    "breaknet.errors": set(),
    "breaknet.html": set(),
    "breaknet.reference": set(),
    "breaknet.model": {"breaknet.errors"},
    "breaknet.data.splits": {"breaknet.errors", "breaknet.html"},
}
LIBRARY = {"breaknet.kernels", *BASE, "breaknet.backends", "breaknet"}
BREAKNET = LIBRARY | {"breaknet.lesson", "breaknet.live", "breaknet.cli"}

#: What the modules under a name import of the repository, beside themselves.
MAY_IMPORT = {
    "breaknet.kernels": set(),
    **BASE,
    "breaknet.backends": {"breaknet.kernels", *BASE},
    "breaknet": LIBRARY,
    "breaknet.lesson": LIBRARY,
    "breaknet.live": LIBRARY,
    "breaknet.cli": BREAKNET,
    "breaknet.__main__": BREAKNET,
    "tools": BREAKNET,
    "scripts": BREAKNET | {"notebooks"},
    "benchmarks": BREAKNET | {"tools", "scripts"},
    "notebooks": BREAKNET | {"benchmarks"},
    "examples": BREAKNET,
}

MAX_LINES = 400

#: Files that may be longer, with their lines.
LONG = {
    "docs/results.md": 800,  # written from stored rows
    "breaknet/live/page/play.js": 600,  # one module, so that a notebook takes it as it is, without a build
}

#: Files that are not read from top to bottom by people: data, pictures, notebooks made from their sources.
GENERATED = {".json", ".svg", ".png", ".ipynb", ".safetensors"}

#: Interpreted kernels are Python functions; on a GPU, where they are not, triton enters fewer.
MAX_FILES = {"numba": 12, "triton": 15}


def files() -> list[Path]:
    """Every file of the repository that git tracks, or, without git, that stands in its folders."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode == 0:
        return [REPOSITORY / line for line in listed.stdout.splitlines() if (REPOSITORY / line).is_file()]
    return [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*") if path.is_file()]


def name_of(path: Path) -> str:
    """The dotted name of a module's file."""
    folder, *rest = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join([FOLDERS[folder], *rest]).removesuffix(".__init__")


def folder_of(name: str) -> str:
    """The name that a module stands under: the longest that fits."""
    fitting = [prefix for prefix in (*MAY_IMPORT, "tests") if name == prefix or name.startswith(f"{prefix}.")]
    return max(fitting, key=len, default="")


MODULES = {
    name_of(path): path
    for path in files()
    if path.suffix == ".py" and path.relative_to(REPOSITORY).parts[0] in FOLDERS
}
TEST_MODULES = {path.stem for name, path in MODULES.items() if folder_of(name) == "tests"}


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`, by which the package shows its public names to type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from _executed(node)


def imports(name: str) -> set[str]:
    """The repository's modules that a module imports, at its top or in a function, for types only too."""
    path = MODULES[name]
    found = set()
    tree = ast.parse(path.read_text())
    for node in _executed(tree) if name == "breaknet" else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
            base = parents[: len(parents) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                found.add(_home(origin, alias.name))
    if name == "breaknet.backends.select":
        found |= {f"breaknet.backends.{module}" for module in select._MODULES.values()}
    return {module for module in found if folder_of(module) or module.split(".")[0] in TEST_MODULES}


def _home(origin: str, imported: str) -> str:
    """The module that `from origin import imported` reads: a submodule, or what keeps a name of the package."""
    if origin == "breaknet" and imported in breaknet._HOMES:
        return f"breaknet.{breaknet._HOMES[imported]}"
    submodule = f"{origin}.{imported}"
    return submodule if submodule in MODULES else origin


IMPORTS = {name: imports(name) for name in MODULES}


def test_the_walk_sees_imports_of_every_kind():
    """At the top, in functions, relative and absolute, by `import_module`."""
    assert len(MODULES) > 200
    assert "breaknet.backends.select" in IMPORTS["breaknet.training"]
    assert "breaknet.backends.numba_cpu.scheduler" in IMPORTS["breaknet.backends.numba_cpu.backend"]
    assert "breaknet.backends.triton_gpu.backend" in IMPORTS["breaknet.backends.select"]
    assert "breaknet.kernels.linear_sigmoid" in IMPORTS["breaknet.backends.check"]
    assert {"breaknet", "checks"} <= IMPORTS["tests.test_structure"]


def test_what_is_imported_is_there():
    gone = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others - MODULES.keys() - TEST_MODULES
        if not any(module.startswith(f"{other}.") for module in MODULES)  # a folder of modules
    ]
    assert not gone


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folders_import_only_what_is_below_them(folder):
    wrong = {
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        if folder_of(name) == folder
        for other in others
        if folder_of(other) not in MAY_IMPORT[folder] | {folder}
    }
    assert not wrong


def test_no_import_circle():
    graph = {name: others & MODULES.keys() - {name} for name, others in IMPORTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_module_bears_the_name_of_a_public_function():
    stems = {name.split(".")[-1] for name in MODULES if folder_of(name) in BREAKNET}
    assert not stems & set(breaknet.__all__)


def about(folder: Path) -> str:
    """The pages about a folder's files: its README, its package's docstring, and the document that this names."""
    pages = [folder / "README.md"]
    package = folder / "__init__.py"
    docstring = ast.get_docstring(ast.parse(package.read_text())) if package.exists() else None
    pages += [REPOSITORY / name for name in re.findall(r"docs/[\w-]+\.md", docstring or "")]
    return "\n".join([docstring or "", *(page.read_text() for page in pages if page.exists())])


def test_a_page_names_each_files_job():
    """That of its folder or of one above it: in backticks, or before the gap in a line of a docstring's list."""
    named = r"`(?:[\w/.]+/)*{0}(?:\.py)?`|^ *(?:[\w/.]+,? )*(?:\w+/)*{0}(?:\.py)?(?:,? [\w/.]+)*,?  "
    unnamed = [
        name
        for name, path in MODULES.items()
        if not path.stem.startswith("__")
        and not any(
            re.search(named.format(path.stem), about(folder), re.MULTILINE)
            for folder in path.parents
            if folder.is_relative_to(REPOSITORY) and folder != REPOSITORY
        )
    ]
    assert not unnamed


def test_a_docstring_says_what_a_thing_is():
    """It names the thing; "What it does" is a question."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    questions = [
        f"{name}: {said}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, documented)
        if re.match(r"(What|How|Where)\b", said := ast.get_docstring(node) or "")
    ]
    assert not questions


def test_no_file_is_longer_than_one_reads():
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_bytes().splitlines())
        for path in files()
        if path.suffix not in GENERATED and not path.is_symlink()
    }
    assert not {name: lines for name, lines in lengths.items() if lines > LONG.get(name, MAX_LINES)}


SCRIPT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]["breaknet"]
MODULE, FUNCTION = SCRIPT.split(":")


@pytest.mark.parametrize(
    "command",
    [("-m", "breaknet"), ("-m", "breaknet.cli"), ("-c", f"from {MODULE} import {FUNCTION}; {FUNCTION}()")],
    ids=["breaknet", "breaknet.cli", "entry point"],
)
def test_the_command_line_starts(command):
    done = subprocess.run(
        [sys.executable, *command, "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "lesson" in done.stdout
    assert "doctor" in done.stdout


@pytest.mark.parametrize("backend", MAX_FILES)
def test_a_call_goes_through_few_files(backend, device):
    """Files of breaknet and kernels whose functions run, in any thread, in a call that is not the first."""
    place = device if backend == "triton" else "cpu"

    def train() -> None:
        data, valid = (sparse_images(60), random_labels(60)), (sparse_images(30, 1), random_labels(30, 1))
        job = breaknet.Job(data, valid=valid, epochs=2)
        breaknet.train_many(
            [job], backend=backend, device=place, progress=False
        )  # whoever imported ipykernel

    train()
    entered = set()

    def look(frame, event, argument):
        if event == "call":
            entered.add(frame.f_code.co_filename)

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        train()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    ours = {Path(path).resolve() for path in entered} & set(MODULES.values()) - {Path(__file__)}
    ours = {path for path in ours if "tests" not in path.relative_to(REPOSITORY).parts}
    assert 8 <= len(ours) <= MAX_FILES[backend], sorted(str(path.relative_to(REPOSITORY)) for path in ours)
