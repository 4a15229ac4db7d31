"""What an installation gets: the wheel's files, the extras' packages, the pins, the images."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Metadata:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Metadata.from_email(wheel.read(name))


def test_the_wheel_holds_trialyard_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    folders = {name.split("/")[0] for name in wheel.namelist()}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "trialyard").rglob("*.py")}

    assert folders == {"trialyard", "trialyard-0.1.0.dist-info"}
    assert {name for name in wheel.namelist() if name.endswith(".py")} == sources
    assert "trialyard/py.typed" in wheel.namelist()


def packages(metadata: Metadata, extra: str) -> set[str]:
    """The names of all packages that an extra asks for, the extras that it includes among them."""
    found: set[str] = set()
    for requirement in metadata.requires_dist or ():
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            found.add(requirement.name.lower())
            for included in requirement.extras if requirement.name == "trialyard" else ():
                found |= packages(metadata, included)
    return found


def test_a_server_is_installed_without_torch_and_a_worker_with_it(metadata: Metadata) -> None:
    assert "sqlalchemy" in packages(metadata, "store")
    assert {"fastapi", "sqlalchemy"} <= packages(metadata, "server")
    assert "torch" in packages(metadata, "worker")
    for extra in ("", "store", "server"):
        assert not {"torch", "pandas", "scikit-learn"} & packages(metadata, extra)


def test_the_sdk_alone_is_small(metadata: Metadata) -> None:
    assert packages(metadata, "") == {"httpx", "pydantic", "pyyaml", "rich", "typer"}


@pytest.mark.parametrize("module", ["trialyard.client", "trialyard.cli"])
def test_the_sdk_and_the_command_line_start_without_the_service(module: str) -> None:
    code = (
        f"import sys, {module};"
        "print([name for name in sys.modules if name.split('.')[0] in"
        " {'api', 'search', 'store', 'worker', 'trainer', 'torch', 'sqlalchemy', 'redis', 'optuna', 'fastapi'}])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["api.main", "search.process"])
def test_the_service_starts_without_what_few_studies_need(module: str) -> None:
    rare = ["matplotlib", "pandas", "plotly", "scipy.stats"]
    code = f"import sys, {module}; print(sorted(sys.modules.keys() & {rare}))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


def test_a_command_of_the_service_says_what_is_missing_where_only_the_wheel_is_installed(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path)
    # Without `site` nothing reads the file that makes this checkout importable; the dependencies still are.
    code = "import sys; sys.path += sys.argv[1:3]; del sys.argv[1:3]; from trialyard.cli import main; main()"
    command = [sys.executable, "-I", "-S", "-c", code, tmp_path, sysconfig.get_paths()["purelib"], "up"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert answer.returncode == 1
    assert answer.stderr.startswith("this command needs the whole service, and 'store' is not installed")
    assert "Traceback" not in answer.stderr


def test_whatever_an_installation_takes_along_is_pinned_and_within_its_bounds() -> None:
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)) for pin in pins}
    assert all(specifier.operator == "==" for specifier in pinned.values())

    for requirement in everything_installed(asked_for()):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{requirement} is not pinned"
        assert requirement.specifier.contains(pinned[name].version, prereleases=True), requirement


def asked_for() -> list[Requirement]:
    """What the project itself asks for in `.[dev]`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = chain(project["dependencies"], *(extras[name] for name in ("store", "server", "worker", "dev")))
    return [requirement for requirement in map(Requirement, texts) if requirement.name != "trialyard"]


def everything_installed(requirements: list[Requirement]) -> Iterator[Requirement]:
    """These requirements, and what the installed packages ask for in turn."""
    seen: set[tuple[str, str]] = set()
    todo = [(requirement, "") for requirement in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        yield requirement
        for wanted in {"", *requirement.extras}:
            if (requirement.name, wanted) not in seen:
                seen.add((requirement.name, wanted))
                todo += [(Requirement(text), wanted) for text in distribution(requirement.name).requires or ()]
