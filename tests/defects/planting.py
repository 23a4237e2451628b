"""Plants one defect in a copy of the package and runs the tests that must catch it.

The checkout is only read. Tests run on the copy because it stands first on the path of a Python
that does not put the working directory there (`-P`). Knows files and pytest's exit codes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import attrs

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
PACKAGE = ROOT / "streamstore"

#: A run that takes longer has hung on its defect, in seconds; that is caught, too.
HANG_S = 300

# That an example fails is enough; making it short is most of the work.
_PLUGIN = """
from hypothesis import Phase, settings


def pytest_configure():
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("unshrunk", settings.default, phases=phases)
    settings.load_profile("unshrunk")
"""


@attrs.frozen(kw_only=True)
class Defect:
    """One mutation; `old` must stand exactly once in `file`."""

    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...] = attrs.field(converter=tuple)

    @property
    def problem(self) -> str | None:
        """Why it cannot be planted as it is written, None where it can."""
        path = PACKAGE / self.file
        if not path.is_file():
            return f"there is no {self.file}"
        found = path.read_text(encoding="utf-8").count(self.old)
        if found != 1:
            return f"its old text stands {found} times in {self.file}"
        if self.old == self.new:
            return "it changes nothing"
        missing = [name for name in self.tests if not (TESTS / name).is_file()]
        return f"there is no {missing[0]}" if missing else None


@attrs.frozen
class Outcome:
    """What became of a planted defect."""

    caught: bool
    by: str
    seconds: float = 0


def defects() -> tuple[Defect, ...]:
    """The list of `defects.toml`."""
    with open(Path(__file__).with_name("defects.toml"), "rb") as file:
        return tuple(Defect(**entry) for entry in tomllib.load(file)["defect"])


def copy_package(folder: Path) -> Path:
    """A copy of the package in a folder of its own; its path."""
    target = folder / "streamstore"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def run_tests(folder: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run test files on the copy of the package in `folder`; they end with the first failure."""
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider"]
    command += ["-p", "without_shrinking"]
    command += ["--no-header", "--tb=line", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(ROOT), *(str(TESTS / name) for name in tests)]
    (folder / "without_shrinking.py").write_text(_PLUGIN)
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )


def where_from(folder: Path) -> str:
    """The file of the package that tests in `folder` import."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import streamstore; print(streamstore.__file__)"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def plant(defect: Defect) -> Outcome:
    """Plant one defect, run its tests, and say whether one failed."""
    assert defect.problem is None, f"{defect.name}: {defect.problem}"
    with tempfile.TemporaryDirectory(prefix="streamstore-defect.") as name:
        folder = Path(name)
        path = copy_package(folder) / defect.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(defect.old, defect.new), encoding="utf-8")
        try:
            done = run_tests(folder, defect.tests)
        except subprocess.TimeoutExpired:
            return Outcome(True, "it hangs")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode == 1:
        return Outcome(True, failed[0].split(" - ")[0] if failed else "a test")
    if done.returncode == 0:
        return Outcome(False, "nothing")
    # The tests could not even be collected: the defect breaks the import, which proves nothing.
    return Outcome(False, f"exit {done.returncode}: {(done.stdout + done.stderr)[-200:]}")
