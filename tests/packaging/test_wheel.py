"""What is in the wheel and in the sdist: everything that is needed, and no name that a user did not ask for."""

import email
import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {"leaderlock", *(path.name for path in (ROOT / "backends").glob("leaderlock_*"))}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_installs_exactly_the_expected_top_level_names(wheel):
    names = {name.partition("/")[0] for name in wheel.namelist()}

    assert {name for name in names if not name.endswith(".dist-info")} == TOP_LEVEL


def test_every_package_says_that_it_is_typed(wheel):
    typed = {name.removesuffix("/py.typed") for name in wheel.namelist() if name.endswith("/py.typed")}

    assert typed == TOP_LEVEL


def test_every_source_file_is_in_the_wheel(wheel):
    ours = [ROOT / "leaderlock", *(ROOT / "backends" / name for name in TOP_LEVEL if name != "leaderlock")]
    sources = {str(path.relative_to(folder.parent)) for folder in ours for path in _sources(folder)}

    assert sources <= set(wheel.namelist())


def test_every_entry_point_leads_to_something(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    entries = ConfigParser()
    entries.read_string(wheel.read(name).decode())

    modules = [entry.partition(":")[0] for section in entries.sections() for entry in entries[section].values()]

    assert modules
    assert all(importlib.util.find_spec(module) for module in modules)


def test_nobody_is_locked_out_by_a_dependency_of_ours(wheel):
    """Two that are pure Python and need nothing themselves; a store's client is taken as new as the user has it."""
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    needed = email.message_from_bytes(wheel.read(name)).get_all("Requires-Dist")
    of_the_core = [one for one in needed if "extra ==" not in one]
    of_stores = [one for one in needed if re.search("extra == '(all|redis|zookeeper|zk|etcd|etcd3)'", one)]

    assert {re.split(r"[ ;<>=!~]", one)[0] for one in of_the_core} == {"tenacity", "cronsim", "tzdata"}
    assert [one for one in of_the_core if one.startswith("tzdata")] == ["tzdata; sys_platform == 'win32'"]
    assert {re.split(r"[ ;<>=!~]", one)[0] for one in of_stores} == {"redis", "kazoo", "grpcio"}
    assert not [one for one in (*of_the_core, *of_stores) if re.search("[<~!]|==", one.partition(";")[0])]


def test_a_wheel_works_as_the_zip_file_that_it_is(built):
    (path,) = built.glob("*.whl")
    program = (
        f"import sys; sys.path[:0] = [{str(path)!r}]; import leaderlock_redis, leaderlock.fences.redis as fence; "
        "assert '.whl' in leaderlock_redis.__file__ and '.whl' in fence.__file__"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_the_sdist_has_what_it_takes_to_test_it(built):
    (path,) = built.glob("*.tar.gz")

    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"README.md", "LICENSE", "Makefile", "pyproject.toml", "docs/api.txt", "leaderlock/py.typed"} <= names
    assert not {name for name in names if name.startswith((".venv", ".hypothesis", "dist/"))}


def _sources(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".py", ".lua", ".typed")]
