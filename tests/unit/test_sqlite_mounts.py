"""Network file systems are told from the text of mountinfo."""

import pytest

from leaderlock.errors import BackendRefused
from leaderlock_sqlite import _file, open_backend
from leaderlock_sqlite._mounts import network_file_system, network_kind

MOUNTS = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /proc rw,relatime - proc proc rw
30 22 0:40 / /srv rw shared:1 master:2 - nfs4 server:/export rw,vers=4.2
31 30 254:1 / /srv/local rw - xfs /dev/vdb rw
32 22 0:41 / /mnt/two\040words rw - cifs //server/share rw
33 22 0:42 / /home/ann/far rw - fuse.sshfs ann@far: rw
34 22 0:43 / /home/ann/near rw - fuse.bindfs /data rw
35 22 0:44 / /covered rw - ext4 /dev/vdc rw
36 22 0:45 / /covered rw - 9p share rw
37 22 0:46 / /uncovered rw - lustre mds:/fs rw
38 22 0:47 / /uncovered rw - tmpfs tmpfs rw
a line that is not one
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x.db", None),
        ("/srv/x.db", "nfs4"),
        ("/srv/deep/down/x.db", "nfs4"),
        ("/srv/local/x.db", None),
        ("/srvother/x.db", None),
        ("/mnt/two words/x.db", "cifs"),
        ("/home/ann/far/x.db", "fuse.sshfs"),
        ("/home/ann/near/x.db", None),
        ("/covered/x.db", "9p"),
        ("/uncovered/x.db", None),
    ],
)
def test_the_deepest_and_latest_mount_decides(path, kind):
    found = network_kind(MOUNTS, path)

    assert found == kind


def test_where_nothing_is_known_nothing_is_refused():
    found = network_kind("", "/var/x.db")

    assert found is None


def test_the_place_of_these_tests_is_local(tmp_path):
    found = network_file_system(tmp_path / "x.db")

    assert found is None


def test_a_database_on_a_network_file_system_is_refused_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(_file, "network_file_system", lambda path: "nfs4")

    with pytest.raises(BackendRefused, match=r"nfs4.*own leader.*local disk"):
        open_backend(f"sqlite:///{tmp_path}/x.db", namespace="n")

    assert not list(tmp_path.iterdir())
