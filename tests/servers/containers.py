"""The stores in containers, as docker-compose.yml describes them: brought up, killed, frozen, cut off, wiped.

The engine is asked through its command line. Containers are found by the labels that Compose gives them, so it does
not matter who brought them up, nor under which project name.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.servers.loopback import free_ports, is_taken, until

__all__ = ["COMPOSE", "ROOT", "RUN", "Container", "Nodes", "bring_down", "run", "why_not"]

ROOT = Path(__file__).parents[2].resolve()
COMPOSE = str(ROOT / "tests/containers/compose")
RUN = "LEADERLOCK_TEST_RUN"
"""A directory of this run of pytest, known to all of its processes."""
LABEL = "com.docker.compose"
OURS = "brought-up"
CHECKOUT = hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:12]


def run(*words: str, timeout: float = 60.0, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr or done.stdout}"
    return done.stdout


@cache
def why_not() -> str:
    """Why there are no containers here; nothing where there are."""
    if not (ROOT / "docker-compose.yml").exists():
        return "there is no docker-compose.yml beside the tests"
    if not shutil.which("docker"):
        return "there is no docker on PATH"
    try:
        run("docker", "version", "--format", "{{.Server.Version}}", timeout=10.0)
    except (AssertionError, subprocess.TimeoutExpired):
        return "no container engine answers"
    done = subprocess.run([COMPOSE, "version"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


@dataclass(frozen=True)
class Container:
    """One service's container; ``port`` leads to it from this host."""

    identity: str
    service: str
    port: int
    project: str
    is_running: bool
    is_paused: bool
    command: Sequence[str]
    addresses: Mapping[str, str]
    """By network; none where it is not part of one, and in networks of a container that does not run."""

    def address_in(self, network: str) -> tuple[int, ...]:
        """In that network of this project, as numbers."""
        return tuple(int(part) for part in self.addresses.get(f"{self.project}_{network}", "").split(".") if part)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut_off(self, network: str) -> None:
        """Take it off the network: ``clients``, or its members' own."""
        run("docker", "network", "disconnect", f"{self.project}_{network}", self.identity)

    def join(self, network: str) -> None:
        alias = f"{self.service}-peer" if network.endswith("peers") else self.service
        run("docker", "network", "connect", "--alias", alias, f"{self.project}_{network}", self.identity)


class Nodes:
    """The containers of one store. Each test has its turn with them, and finds them whole."""

    networks: tuple[str, ...] = ("clients",)
    """That of the clients, and that of the members."""

    def __init__(self, *services: str, is_serving: Callable[[Container], object]) -> None:
        self.services = services
        self._is_serving = is_serving
        self._touched = _file_of_this_checkout(f"{services[0]}.touched")
        """Is there while somebody may have left them otherwise than whole."""
        # In a turn of its own: another process's test may be making them anew.
        with _lock(services[0]):
            self._bring_up()

    @property
    def all(self) -> list[Container]:
        """As they are now, in the order of the services."""
        identities = {service: identity for identity, service, _ in _listed()}
        ours = [identities[service] for service in self.services if service in identities]
        return [_described(each) for each in json.loads(run("docker", "inspect", *ours))]

    @contextmanager
    def turn(self) -> Generator[None]:
        """Nobody else does anything to them meanwhile, in no process of this host."""
        with _lock(self.services[0]):
            if self._touched.exists():
                self._mend()
            yield

    def _mend(self) -> None:
        for container in self.all:
            if container.is_paused:
                run("docker", "unpause", container.identity)
            for network in self.networks:
                if not container.address_in(network) and container.is_running:
                    container.join(network)
                    run("docker", "restart", "--time", "0", container.identity)
        self.start()
        self._touched.unlink()

    def kill(self, *some: Container) -> None:
        """As a power cut does."""
        self._touched.touch()
        run("docker", "kill", *(container.identity for container in some or self.all))

    def start(self) -> None:
        """Start those that do not run, and wait until all of them serve."""
        if down := [container.identity for container in self.all if not container.is_running]:
            run("docker", "start", *down)
        self.wait()

    def wait(self) -> None:
        """Until all of them serve."""
        for container in self.all:
            until(lambda container=container: self._is_serving(container), f"{container.service} serves")

    @contextmanager
    def outage(self, *some: Container) -> Generator[None]:
        self.kill(*some)
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self, *some: Container) -> Generator[None]:
        identities = [container.identity for container in some or self.all]
        self._touched.touch()
        run("docker", "pause", *identities)
        try:
            yield
        finally:
            run("docker", "unpause", *identities)

    @contextmanager
    def cut_off(self, network: str, *some: Container) -> Generator[None]:
        """Without that network. It is back after the block, and they serve, if perhaps not at once."""
        self._touched.touch()
        # The engine gives out the lowest address that is free, so in this order everybody gets his own back.
        before = sorted(some or self.all, key=lambda container: container.address_in(network))
        for container in before:
            container.cut_off(network)
        try:
            yield
        finally:
            for container in before:
                container.join(network)
            self._start_over_if_moved(network, before)

    def _start_over_if_moved(self, network: str, before: Sequence[Container]) -> None:
        """Members that find another one at an address that they know do not find together again (etcd 3.5)."""
        addresses = {container.service: container.address_in(network) for container in self.all}
        if any(addresses[container.service] != container.address_in(network) for container in before):
            run("docker", "restart", "--time", "0", *(container.identity for container in self.all))

    def lose_disks(self) -> None:
        """The same containers, with nothing on their disks."""
        before = self.all
        run("docker", "rm", "--force", "--volumes", *(container.identity for container in before))
        self._bring_up(**{variable_of(container.service): str(container.port) for container in before})

    def _bring_up(self, **ports: str) -> None:
        with _lock("stack"):
            before = _listed()
            if missing := set(self.services) - {service for _, service, _ in before}:
                if RUN in os.environ and not ports:
                    with Path(os.environ[RUN], OURS).open("a") as file:
                        file.writelines(f"{service}\n" for service in missing)
                project = before[0][2] if before else os.environ.get("COMPOSE_PROJECT_NAME", f"leaderlock-{CHECKOUT}")
                # The first time, this builds the images.
                words = ("-p", project, "up", "--detach", *sorted(missing))
                run(COMPOSE, *words, timeout=900.0, **(ports or _moved_ports(missing)))
        self.wait()


def variable_of(service: str) -> str:
    """The variable that moves the service's port."""
    return f"LEADERLOCK_{service.upper().replace('-', '_')}_PORT"


def _moved_ports(services: Iterable[str]) -> dict[str, str]:
    """Other ports for those whose own are taken, as they are while another checkout's containers are up."""
    usual = dict(re.findall(r"\$\{(LEADERLOCK_\w+_PORT):-(\d+)\}", (ROOT / "docker-compose.yml").read_text("utf-8")))
    # One that lends its network has no port of its own.
    variables = [variable for variable in map(variable_of, services) if variable in usual]
    asked = {variable: os.environ.get(variable, usual[variable]) for variable in variables}
    taken = [variable for variable, port in asked.items() if is_taken(int(port))]
    return {variable: str(port) for variable, port in zip(taken, free_ports(len(taken)), strict=True)}


def bring_down() -> None:
    """End the containers that this run of pytest brought up."""
    try:
        ours = set(Path(os.environ[RUN], OURS).read_text("utf-8").split())
    except FileNotFoundError:
        return
    there = _listed()
    if not there:
        return
    if {service for _, service, _ in there} <= ours:
        words = ("--profile", "sentinel", "-p", there[0][2], "down", "--volumes", "--timeout", "5")
        run(COMPOSE, *words, timeout=120.0)
    else:
        mine = [identity for identity, service, _ in there if service in ours]
        run("docker", "rm", "--force", "--volumes", *mine)


def _listed() -> list[tuple[str, str, str]]:
    """The containers of this checkout, whatever their state: identity, service, project."""
    told = f'{{{{.ID}}}} {{{{.Label "{LABEL}.service"}}}} {{{{.Label "{LABEL}.project"}}}}'
    lines = run("docker", "ps", "--all", "--filter", f"label={LABEL}.project.working_dir={ROOT}", "--format", told)
    return [(identity, service, project) for identity, service, project in map(str.split, lines.splitlines())]


def _described(told: dict) -> Container:
    labels, state = told["Config"]["Labels"], told["State"]
    bindings: Sequence[list[dict[str, str]]] = list((told["HostConfig"]["PortBindings"] or {}).values())
    return Container(
        identity=told["Id"],
        service=labels[f"{LABEL}.service"],
        port=int(bindings[0][0]["HostPort"]) if bindings else 0,
        project=labels[f"{LABEL}.project"],
        is_running=state["Running"],
        is_paused=state["Paused"],
        command=told["Config"]["Cmd"],
        addresses={name: here["IPAddress"] for name, here in told["NetworkSettings"]["Networks"].items()},
    )


@contextmanager
def _lock(name: str) -> Generator[None]:
    """Held by one process of this host at a time, for this checkout."""
    with _file_of_this_checkout(f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _file_of_this_checkout(name: str) -> Path:
    return Path(tempfile.gettempdir(), f"leaderlock-{os.getuid()}-{CHECKOUT}-{name}")
