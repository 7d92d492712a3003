"""Nodes in containers: the servers of ``nodes.Processes``, each with a kernel's network of its own.

Every campaign has its own names, networks and ports, so that any number of them, and the test-suite's own containers,
do not meet. All of it goes when the campaign ends, however it ends: a process of its own waits for that.

Everything that can be done to a process can be done to a container. Two things are done otherwise, and are harder. A
network that is cut loses what is sent (the processes' relays hold it back), so that the kernel repeats it, later and
later, and connections are still on their way back when the cut is over. A pause is the engine's, for all threads at
once.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.chaos.links import LOOPBACK
from tests.servers.containers import COMPOSE, ROOT, run

__all__ = ["EVERYWHERE", "ContainerNode", "Containers"]

EVERYWHERE = "0.0.0.0"
LABEL = "leaderlock-chaos"
FIRST = 11
"""The first node's number in the members' network."""
ATTEMPTS = 5
REAPER = """cat >/dev/null
docker ps --all --quiet --filter label=$1 | xargs -r docker rm --force --volumes
docker network ls --quiet --filter label=$1 | xargs -r docker network rm"""


class Containers:
    """Containers of one image, with a network to their clients and one among themselves."""

    listen = EVERYWHERE

    def __init__(self, service: str) -> None:
        self.image = _image(service)
        self.name = f"{LABEL}-{os.getpid()}-{secrets.token_hex(3)}"
        self.label = f"{LABEL}={self.name}"
        self._addresses: dict[str, str] = {}
        # In a session of its own, which no Ctrl-C reaches. The pipe ends when this process does.
        words = ["sh", "-c", REAPER, "reaper", self.label]
        self._reaper = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._make_network("clients")
        self._subnet = self._make_members_network()

    @property
    def members(self) -> str:
        return f"{self.name}-members"

    def address(self, name: str) -> str:
        """A node's own in the members' network, which it keeps."""
        number = FIRST + list(self._addresses).index(name) if name in self._addresses else FIRST + len(self._addresses)
        return self._addresses.setdefault(name, str(self._subnet[number]))

    def place(self, name: str, port: int) -> tuple[str, int]:
        return self.address(name), port

    def node(
        self,
        name: str,
        start: Callable[[], object],
        *,
        port: int,
        folders: Iterable[Path],
        variables: Mapping[str, str] | None = None,
    ) -> ContainerNode:
        return ContainerNode(self, name, start, port, tuple(folders), variables or {})

    def close(self) -> None:
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()
        self._reaper.wait(120)

    def _make_network(self, name: str, *settings: str) -> None:
        run("docker", "network", "create", "--label", self.label, *settings, f"{self.name}-{name}")

    def _make_members_network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """Addresses are only kept in a subnet that was asked for. Which one is free, the engine knows."""
        told = "{{(index .IPAM.Config 0).Subnet}}"
        for attempt in range(ATTEMPTS):
            self._make_network("members")
            subnet = run("docker", "network", "inspect", "--format", told, self.members).strip()
            run("docker", "network", "rm", self.members)
            try:
                self._make_network("members", "--internal", "--subnet", subnet)
            except AssertionError:
                # Another campaign was faster.
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                break
        return ipaddress.ip_network(subnet)


class ContainerNode:
    """One container. It is a running program, too, as far as the server's class asks."""

    def __init__(
        self,
        ground: Containers,
        name: str,
        start: Callable[[], object],
        port: int,
        folders: Sequence[Path],
        variables: Mapping[str, str],
    ) -> None:
        self.name = name
        self.start = start
        self._ground = ground
        self._container = f"{ground.name}-{name}"
        self._port = port
        self._folders = folders
        self._variables = variables
        self._words: list[str] | None = None
        self._is_cut = False

    def launch(self, words: Sequence[str], log: Path) -> ContainerNode:
        if self._words != list(words):
            self._create(words, log)
            self._words = list(words)
        run("docker", "start", self._container)
        return self

    def _create(self, words: Sequence[str], log: Path) -> None:
        if self._words is not None:
            run("docker", "rm", "--force", "--volumes", self._container)
        # The folders are where they are on the host, and belong to the same user.
        places = [f"--volume={folder}:{folder}" for folder in self._folders]
        variables = [f"--env={name}={value}" for name, value in self._variables.items()]
        settings = [
            *("--name", self._container, "--label", self._ground.label, "--user", f"{os.getuid()}:{os.getgid()}"),
            *("--network", f"{self._ground.name}-clients", "--publish", f"{LOOPBACK}:{self._port}:{self._port}"),
            *("--workdir", str(self._folders[0]), *places, *variables),
        ]
        logging = ["sh", "-c", f'exec "$@" >>{log} 2>&1', "launch"]
        run("docker", "create", *settings, self._ground.image, *logging, *words)
        if not self._is_cut:
            self._join()

    @property
    def pid(self) -> int:
        return int(self._told("{{.State.Pid}}"))

    def poll(self) -> int | None:
        running, code = self._told("{{.State.Running}} {{.State.ExitCode}}").split()
        return None if running == "true" else int(code)

    def wait(self, timeout: float | None = None) -> int:
        return int(run("docker", "wait", self._container, timeout=timeout or 60.0))

    def send_signal(self, number: int, /) -> None:
        # What has ended by itself gets no signals.
        with suppress(AssertionError):
            run("docker", "kill", "--signal", str(number), self._container)

    def pause(self) -> None:
        if self._words is not None and self.poll() is None:
            run("docker", "pause", self._container)

    def resume(self) -> None:
        if self._words is not None and self._told("{{.State.Paused}}") == "true":
            run("docker", "unpause", self._container)

    def kill(self) -> None:
        if self._words is not None:
            self.send_signal(9)
            self.wait()

    def cut(self) -> None:
        if not self._is_cut:
            run("docker", "network", "disconnect", self._ground.members, self._container)
            self._is_cut = True

    def heal(self) -> None:
        if self._is_cut:
            self._join()
            self._is_cut = False

    def _join(self) -> None:
        address = self._ground.address(self.name)
        run("docker", "network", "connect", "--ip", address, self._ground.members, self._container)

    def _told(self, what: str) -> str:
        return run("docker", "inspect", "--format", what, self._container).strip()


def _image(service: str) -> str:
    """The one that docker-compose.yml names; built, if it is not there."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    image = next(found for found in re.findall(r"image: (\S+)", text) if f"/{service}:" in found)
    if not run("docker", "images", "--quiet", image).strip():
        member = next(found for found in re.findall(r"^  ([\w-]+):$", text, re.MULTILINE) if found.startswith(service))
        run(COMPOSE, "build", member, timeout=900.0)
    return image
