"""What is installed: locked requirements that fit pyproject.toml, and a package whose plain install is the client."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.training_service.registry_running import running_registry

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "requirements"
PACKAGES = ("maas", "maas_client", "grpc_runtime", "model_store", "training_service", "inference_service")
APART = {"torch", "torchvision"}
"""They have locked requirements of their own, for each build."""
MAX_CLIENT_BYTES = 60_000_000
SCRIPT = """\
from maas_client import Client

def first_label(client: Client, photo: bytes) -> str:
    return client.models()
"""


@cache
def pins(name: str) -> Mapping[str, frozenset[str]]:
    """Return the versions that a file of locked requirements pins, by package."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (LOCKS / name).read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(package), set()).add(version)
    return {package: frozenset(versions) for package, versions in found.items()}


def requirements(*extras: str) -> Iterator[Requirement]:
    """Yield what the client needs, and what each extra and those within it do."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    for requirement in map(Requirement, texts):
        if requirement.name == project["name"]:
            yield from requirements(*requirement.extras)
        else:
            yield requirement


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("client.txt", ()), ("server.txt", ("server",)), ("stores.txt", ("postgres", "s3")), ("dev.txt", ("dev",))],
)
def test_locked_versions_are_within_their_ranges(lock: str, extras: tuple[str, ...]) -> None:
    """Where one is not, `make lock` was not run."""
    wanted = [each for each in requirements(*extras) if each.name not in APART]
    assert len(wanted) > 5
    locked = pins(lock)
    missing = [each.name for each in wanted if canonicalize_name(each.name) not in locked]
    assert missing == []
    outside = [
        f"{each} {version}"
        for each in wanted
        for version in locked[canonicalize_name(each.name)]
        if not each.specifier.contains(version)
    ]
    assert outside == []


def test_every_build_of_torch_is_locked_within_its_range() -> None:
    """Both files pin the same pair, which has no place in the files of the other groups."""
    for requirement in (each for each in requirements("server") if each.name in APART):
        cpu, cuda = (pins(f"torch-{kind}.txt")[requirement.name] for kind in ("cpu", "cuda"))
        assert cpu == cuda
        assert all(requirement.specifier.contains(version) for version in cpu)
    assert not APART & (pins("dev.txt").keys() | pins("server.txt").keys())


def test_the_groups_agree() -> None:
    """A package has one version, in whichever file it stands; NVIDIA's client has a folder of its own."""
    dev = pins("dev.txt")
    for path in LOCKS.glob("*.txt"):
        shared = pins(path.name).keys() & dev.keys() if path.name != "tritonclient.txt" else set()
        # A file for one Python has one of the versions that a package has for several.
        assert [name for name in shared if not pins(path.name)[name] <= dev[name]] == [], path.name


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*.txt")), ids=lambda path: path.name)
def test_each_pin_has_hashes_and_no_host(lock: Path) -> None:
    """`--require-hashes` refuses a pin without one; an index is the choice of who installs."""
    entries = re.sub(r"\\\n\s+", " ", lock.read_text()).splitlines()
    assert [entry for entry in entries if entry[0] != "#" and "--hash=sha256:" not in entry] == []
    assert "://" not in lock.read_text()


def test_make_lists_its_targets() -> None:
    """`make` alone does nothing else."""
    make = shutil.which("make")
    assert make is not None
    done = subprocess.run([make, "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("help", "demo", "up", "test", "lint", "lock"):
        assert re.search(rf"^make {target} +\S", done.stdout, re.MULTILINE), done.stdout


def test_the_client_imports_no_heavy_package() -> None:
    """In a fresh interpreter: no tensors, no photos, no database, no settings."""
    heavy = ("torch", "torchvision", "numpy", "PIL", "sklearn", "sqlalchemy", "pydantic", "structlog", "uvloop", "rich")
    script = f"import sys, maas_client; maas_client.Client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree by what the locked requirements build with."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the client's locked requirements, the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin/python"
    run(python, "-m", "pip", "install", "-q", "--require-hashes", "-r", LOCKS / "client.txt")
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel)
    return python


def run(*command: str | Path, **variables: str) -> str:
    """Run a command outside the tree; return what it printed, and fail with it where the command did."""
    done = subprocess.run(
        command, cwd="/", env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_wheel_has_types_licence_and_generated_code(wheel: Path) -> None:
    """And nothing that is only for developers."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert {"maas/inference/v1/inference_pb2.py", "maas/inference/v1/inference_pb2.pyi"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)


@pytest.mark.slow
def test_a_plain_install_is_whole_and_small(python: Path) -> None:
    """Nothing that the client declares is missing, and pip aside it takes less than 60 MB."""
    assert "No broken requirements" in run(python, "-m", "pip", "check")
    script = (
        "from importlib.metadata import distributions\n"
        "own = [d for d in distributions() if d.name not in ('pip', 'setuptools')]\n"
        "paths = [d.locate_file(file) for d in own for file in d.files or ()]\n"
        "print(sum(path.stat().st_size for path in paths if path.is_file()))\n"
    )
    assert int(run(python, "-c", script)) < MAX_CLIENT_BYTES


@pytest.mark.slow
def test_a_plain_install_talks_to_a_service(python: Path, tmp_path: Path) -> None:
    """The command lists models, and names what `maas up` and the services' scripts lack."""
    maas = python.with_name("maas")
    assert "predict" in run(maas, "--help")
    with running_registry(tmp_path / "home") as registry:
        assert run(maas, "models", "--json", MAAS_TRAINING_ADDRESS=registry.address).strip() == "[]"
    for command in ((maas, "up"), (python.with_name("maas-training-service"),)):
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in {1, 8}
        assert re.fullmatch(r".*\(.*\btorch\b.*\): pip install \".*\[server\].*\"\n", done.stderr), done.stderr


@pytest.mark.slow
def test_a_users_script_is_checked_against_the_installed_types(python: Path, tmp_path: Path) -> None:
    """The one mistake in it is found: what the client returns is not Any."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python), str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Incompatible return value type" in done.stdout
    assert "Found 1 error in 1 file" in done.stdout
