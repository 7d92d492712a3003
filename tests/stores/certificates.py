"""Certificates of an authority that lives as long as the tests: good ones, and each kind of bad one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

__all__ = ["Certificates", "Pair"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Paths of PEM files; ``both`` holds the two in one, as ZooKeeper wants them."""

    cert: Path
    key: Path
    both: Path


class Certificates:
    """Files in a directory."""

    def __init__(self, directory: Path) -> None:
        authority, stranger = trustme.CA(), trustme.CA()
        self.ca = directory / "ca.pem"
        self.strangers_ca = directory / "stranger.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        stranger.cert_pem.write_to_path(str(self.strangers_ca))
        here = ("127.0.0.1", "localhost")
        yesterday = datetime.now(UTC) - timedelta(days=1)
        self.good = self._write(directory, "good", authority.issue_cert(*here))
        self.client = self._write(directory, "client", authority.issue_cert("client@example.org", common_name="app"))
        self.elsewhere = self._write(directory, "elsewhere", authority.issue_cert("elsewhere.example.org"))
        expired = authority.issue_cert(*here, not_before=yesterday - timedelta(days=9), not_after=yesterday)
        self.expired = self._write(directory, "expired", expired)

    @staticmethod
    def _write(directory: Path, name: str, issued: trustme.LeafCert) -> Pair:
        pair = Pair(*(directory / f"{name}.{kind}" for kind in ("crt", "key", "pem")))
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        # The one form of a key that all servers read.
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        pair.cert.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
        pair.both.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
        return pair
