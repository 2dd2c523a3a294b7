"""The page's one module is type-checked: TypeScript reads the types in its comments. npm fetches the compiler."""

import shutil
import subprocess

import pytest

TYPESCRIPT = "typescript@5.9"


@pytest.mark.slow
def test_the_types_of_the_module_are_right(repository, tmp_path):
    if shutil.which("npx") is None:
        pytest.skip("needs npm")
    tsc = ["npx", "--yes", "--package", TYPESCRIPT, "tsc"]
    if subprocess.run([*tsc, "--version"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("npm cannot fetch TypeScript here")
    flags = "--noEmit --allowJs --checkJs --strict --noUnusedLocals --noUnusedParameters"
    flags += " --target es2022 --module es2022"
    module = repository / "breaknet" / "live" / "page" / "play.js"

    def check(text: str) -> str:
        (tmp_path / "play.js").write_text(text)
        done = subprocess.run([*tsc, *flags.split(), "play.js"], cwd=tmp_path, capture_output=True, text=True)
        return done.stdout

    assert check(module.read_text()) == ""
    assert "Property 'titel' does not exist" in check(
        module.read_text().replace("this.title}", "this.titel}")
    )
