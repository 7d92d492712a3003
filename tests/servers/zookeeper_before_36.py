"""A ZooKeeper server of before 3.6, as far as that matters: it refuses to read many nodes at once, and hangs up.

So does ``UnimplementedRequestProcessor`` of ZooKeeper 3.4 and 3.5 with every request that it does not know.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

__all__ = ["Before36"]

_READ_MANY = 22
_UNIMPLEMENTED = -6
_PATIENCE = 20


class Before36:
    """Stands before a newer server, and lets everything else through."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self.url = f"zk://127.0.0.1:{self._listener.getsockname()[1]}"
        self.refused = 0
        self._start(self._accept)

    def close(self) -> None:
        _hang_up(self._sockets)
        for thread in self._threads:
            thread.join(_PATIENCE)
        for end in self._sockets:
            end.close()

    def _start(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                self._start(self._carry_requests, client, server)
                self._start(self._carry_replies, client, server)

    def _carry_requests(self, client: socket.socket, server: socket.socket) -> None:
        is_greeting = True
        with suppress(OSError), client.makefile("rb") as source:
            while len(length := source.read(4)) == 4:
                request = source.read(int.from_bytes(length))
                if not is_greeting and struct.unpack_from("!i", request, 4) == (_READ_MANY,):
                    self.refused += 1
                    client.sendall(struct.pack("!i4sqi", 16, request[:4], 0, _UNIMPLEMENTED))
                    break
                is_greeting = False
                server.sendall(length + request)
        _hang_up([client, server])

    def _carry_replies(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while piece := server.recv(1 << 16):
                client.sendall(piece)
        _hang_up([client, server])


def _hang_up(sockets: list[socket.socket]) -> None:
    for end in sockets:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
