"""What docker-compose.yml, the Dockerfile and the page on testing say of the stores in containers: the same.

And which Compose reads it.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "tests/containers/Dockerfile").read_text(encoding="utf-8")
PAGE = (ROOT / "docs/testing.md").read_text(encoding="utf-8")

VARIABLE = r"\$\{LEADERLOCK_(?:REDIS|VALKEY|ZOOKEEPER_[123]|ETCD_[123]|SENTINEL_[123]|SENTINEL_REDIS_[123])_PORT:-\d+\}"
IMAGES = dict(re.findall(r"^ +image: leaderlock-tests/(\w+):([\d.]+)$", COMPOSE, flags=re.M))
STAGES = dict(re.findall(r"^FROM debian AS (\w+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, flags=re.M | re.S))
PORTS = dict(re.findall(r"\$\{(LEADERLOCK_\w+_PORT):-(\d+)\}", COMPOSE))
ENTRIES = re.findall(r'^ +ports: \["(.*)"\]$|^ +- "(.*)"$', COMPOSE, flags=re.M)
PUBLISHED = [one or other for one, other in ENTRIES]


def test_every_port_is_found_and_published_on_loopback_only_where_a_variable_can_move_it():
    assert len(PUBLISHED) == COMPOSE.count('"127.0.0.1:$') == len(PORTS) == 14
    assert len(re.findall(r"^ +ports:", COMPOSE, flags=re.M)) == 9
    for entry in PUBLISHED:
        assert re.fullmatch(rf"127\.0\.0\.1:{VARIABLE}:(\d+|{VARIABLE})", entry), entry


def test_no_service_lives_on_the_hosts_own_network():
    assert set(re.findall(r"network_mode: (.+)", COMPOSE)) == {'"service:sentinel-host"'}


def test_no_two_ports_are_one():
    assert len(set(PORTS.values())) == len(PORTS)


def test_every_stage_is_a_service_and_has_the_version_that_its_image_is_called_by():
    assert set(STAGES) == set(IMAGES) == set(re.findall(r"target: (\w+)", COMPOSE))
    for store, version in IMAGES.items():
        assert version.replace(".", r"\.") + r"\." in STAGES[store]


@pytest.mark.parametrize(("store", "version"), IMAGES.items())
def test_the_page_names_the_version_of_each_store(store, version):
    assert re.search(rf"^\| {store} {re.escape(version)}\b", PAGE, flags=re.M | re.I)


@pytest.mark.parametrize(("variable", "port"), PORTS.items())
def test_the_page_names_every_port_and_the_variable_that_moves_it(variable, port):
    assert re.search(rf"\b{port}\b", PAGE)
    assert variable in PAGE or re.sub(r"\d", "N", variable) in PAGE


def test_the_makefile_builds_each_image_for_one_service_only():
    (services,) = re.findall(r"^\t\$\(COMPOSE\) build (.+)$", (ROOT / "Makefile").read_text("utf-8"), flags=re.M)

    built = [
        re.findall(rf"^  {one}:\n    (?:<<: \*|image: leaderlock-tests/)(\w+)", COMPOSE, re.M)
        for one in services.split()
    ]

    assert sorted(built) == sorted([image] for image in IMAGES)


@pytest.fixture
def compose(tmp_path):
    """Asks for Compose on a PATH where only these programs are, each with what it says and the code it ends with."""

    def ask(**programs: tuple[str, int]) -> subprocess.CompletedProcess[str]:
        for name, (case, code) in programs.items():
            program = tmp_path / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\ncase $* in {case}) echo {program.name} $* ;; *) exit {code} ;; esac\n")
            program.chmod(0o755)
        script = ROOT / "tests/containers/compose"
        words, path = [script, "-p", "a b", "up"], {"PATH": str(tmp_path)}
        return subprocess.run(words, env=path, capture_output=True, text=True, check=False)

    return ask


@pytest.mark.parametrize(
    ("programs", "chosen"),
    [
        ({"docker": ("compose*", 1), "docker_compose": ("*", 1)}, "docker compose"),
        ({"docker": ("version", 1), "docker_compose": ("*", 1)}, "docker-compose"),
        ({"docker_compose": ("*", 1)}, "docker-compose"),
    ],
    ids=["both", "no plugin", "no docker"],
)
def test_the_plugin_is_taken_where_docker_has_it_else_docker_compose(compose, programs, chosen):
    done = compose(**programs)

    assert (done.returncode, done.stdout) == (0, f"{chosen} -p a b up\n")


@pytest.mark.parametrize(
    "programs", [{}, {"docker": ("version", 1), "docker_compose": ("nothing", 127)}], ids=["none", "both broken"]
)
def test_where_no_compose_is_the_reader_is_told(compose, programs):
    done = compose(**programs)

    assert (done.returncode, done.stdout) == (127, "")
    assert "neither `docker compose` nor docker-compose" in done.stderr


def test_nobody_chooses_besides():
    chooses = r"docker compose version|docker-compose version|which\(.docker-compose.\)|command -v docker-compose"
    files = [ROOT / "Makefile", *(ROOT / ".ci").iterdir(), *(ROOT / "tests").glob("[cs]*/*")]

    found = {
        str(path.relative_to(ROOT)) for path in files if path.is_file() and re.search(chooses, path.read_text("utf-8"))
    }

    assert found == {"tests/containers/compose"}
