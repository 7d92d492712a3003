"""Keys in etcd: ``<prefix>/<namespace>/<register's key>``, readable with etcdctl.

Bytes have no meaning to etcd, so registers' keys stand as they are. A namespace is escaped so that it holds no slash:
then what begins with one namespace and its slash belongs to no other.
"""

from __future__ import annotations

__all__ = ["Space"]


class Space:
    """The keys of one namespace."""

    def __init__(self, prefix: str, namespace: str) -> None:
        escaped = namespace.replace("%", "%25").replace("/", "%2F")
        self._base = f"{prefix}/{escaped}/".encode()
        self.mark = self._base + b"birth"
        """The birth mark's key; no register is called that."""

    def key(self, name: str) -> bytes:
        """The key of a register."""
        return self._base + name.encode()

    def name(self, key: bytes) -> str:
        """The register of a key."""
        return key[len(self._base) :].decode(errors="replace")

    def range(self, prefix: str) -> tuple[bytes, bytes]:
        """The first key, and the end, of all registers whose keys begin with ``prefix``."""
        first = self._base + prefix.encode()
        # A key's last byte can be counted up: UTF-8 has no byte 255.
        return first, first[:-1] + bytes([first[-1] + 1])
