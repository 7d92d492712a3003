"""Whether a path is on a file system that other hosts may share."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

__all__ = ["file_system", "network_file_system", "network_kind"]

_NETWORK: Final = frozenset(
    {"9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"}
)
_NETWORK_FUSE: Final = frozenset(
    {"afp", "ceph", "ceph-fuse", "curlftpfs", "davfs2", "gcsfuse", "glusterfs", "goofys", "grpcfuse", "juicefs"}
    | {"mfs", "moosefs", "nfs", "osxfs", "rclone", "s3fs", "seaweedfs", "smbnetfs", "sshfs", "vmhgfs-fuse"}
)


def network_file_system(path: Path) -> str | None:
    """The kind of network file system that ``path`` is on; ``None`` where it is local, or where we cannot tell."""
    return network_kind(_mountinfo(), os.path.realpath(path))


def file_system(path: Path) -> str:
    """The kind of file system that ``path`` is on; nothing where we cannot tell."""
    return _kind(_mountinfo(), os.path.realpath(path))


def network_kind(mountinfo: str, path: str) -> str | None:
    """The kind of network file system, told from the text of ``mountinfo`` (see proc(5)), of a path without links."""
    kind = _kind(mountinfo, path)
    return kind if kind in _NETWORK or kind.removeprefix("fuse.") in _NETWORK_FUSE else None


def _mountinfo() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _kind(mountinfo: str, path: str) -> str:
    best, best_kind = "", ""
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        if not dash:
            continue
        point = _unescaped(before.split(" ")[4])
        # The deepest mount point counts; of two on one point, the later covers the earlier.
        if len(point) >= len(best) and _is_under(path, point):
            best, best_kind = point, after.split(" ")[0]
    return best_kind


def _is_under(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
