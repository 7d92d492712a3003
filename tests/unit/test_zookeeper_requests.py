"""The ZooKeeper driver's own requests are byte for byte what kazoo's would be, and the answers are understood alike."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("kazoo")

from kazoo.exceptions import BadVersionError, KazooException, NoNodeError, RolledBackError
from kazoo.protocol import serialization as theirs
from kazoo.security import OPEN_ACL_UNSAFE, make_acl, make_digest_acl

from leaderlock_zookeeper._requests import Node, ReadMany, WriteAll, create, delete, put

REPLY = b"\0" * 16
"""What comes before every answer; kazoo has read it already."""
paths = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
values = st.binary(max_size=2000)
versions = st.integers(-1, 2**31 - 1)
rights = st.sampled_from(
    [OPEN_ACL_UNSAFE, [make_digest_acl("ann", "secret", all=True)], [make_acl("auth", "", all=True)]]
)


def part(kind, body=b""):
    return struct.pack("!iBi", kind, 0, 0) + body


def stat(*, mzxid=0, version=0):
    return struct.pack("!qqqqiiiqiiq", 1, mzxid, 2, 3, version, 4, 5, 6, 7, 8, 9)


END = struct.pack("!iBi", -1, 1, -1)
writes = st.one_of(
    st.builds(lambda *given: (create(*given), theirs.Create(*given, 0)), paths, values, rights),
    st.builds(lambda *given: (put(*given), theirs.SetData(*given)), paths, values, versions),
    st.builds(lambda *given: (delete(*given), theirs.Delete(*given)), paths, versions),
)


@given(writes)
def test_one_write_travels_as_itself(write):
    ours, kazoos = write

    request = WriteAll([ours])

    assert (request.type, request.serialize()) == (kazoos.type, kazoos.serialize())


@given(st.lists(writes, min_size=2))
def test_several_writes_travel_as_a_transaction(several):
    request = WriteAll([ours for ours, _ in several])

    kazoos = theirs.Transaction([kazoos for _, kazoos in several])
    assert (request.type, request.serialize()) == (kazoos.type, kazoos.serialize())


def test_a_transaction_is_answered_by_versions():
    parts = part(1, b"\0\0\0\2/a"), part(5, stat(version=7)), part(2)

    answers = WriteAll([put("/a", b"", 0)] * 3).deserialize(REPLY + b"".join(parts) + END, len(REPLY))

    assert answers == [0, 7, 0]


def test_a_transaction_that_failed_is_answered_by_errors():
    parts = [part(-1, struct.pack("!i", code)) for code in (0, -103, -2)]

    answers = WriteAll([put("/a", b"", 0)] * 3).deserialize(REPLY + b"".join(parts) + END, len(REPLY))

    assert isinstance(answers[0], RolledBackError)
    assert isinstance(answers[1], BadVersionError)
    assert all(isinstance(answer, KazooException) for answer in answers)


@pytest.mark.parametrize(("write", "reply", "version"), [(put, stat(version=3), 3), (delete, b"", 0)])
def test_one_write_is_answered_by_its_version(write, reply, version):
    operation = put("/a", b"", 2) if write is put else delete("/a", 2)

    assert WriteAll([operation]).deserialize(REPLY + reply, len(REPLY)) == [version]


@given(st.lists(st.tuples(values, versions, st.integers(0, 2**63 - 1)), min_size=1))
def test_what_was_read_comes_back_in_its_order(nodes):
    reply = REPLY + b"".join(
        part(4, struct.pack("!i", len(data)) + data + stat(version=version, mzxid=mzxid))
        for data, version, mzxid in nodes
    )

    assert ReadMany(["/a"], children=False).deserialize(reply + END, len(REPLY)) == [Node(*node) for node in nodes]


@given(st.lists(st.lists(paths), min_size=1))
def test_names_below_nodes_come_back_in_their_order(lists):
    reply = REPLY + b"".join(
        part(8, struct.pack("!i", len(names)) + b"".join(theirs.write_string(name) for name in names))
        for names in lists
    )

    assert ReadMany(["/a"], children=True).deserialize(reply + END, len(REPLY)) == lists


def test_a_node_that_is_not_there_is_an_error_among_the_answers():
    reply = REPLY + part(-1, struct.pack("!i", -101)) + part(4, b"\0\0\0\1x" + stat()) + END

    missing, found = ReadMany(["/a", "/b"], children=False).deserialize(reply, len(REPLY))

    assert isinstance(missing, NoNodeError)
    assert found == Node(b"x", 0, 0)


def test_an_error_that_kazoo_does_not_know_is_one_all_the_same():
    reply = REPLY + part(-1, struct.pack("!i", -9999)) + END

    (answer,) = ReadMany(["/a"], children=False).deserialize(reply, len(REPLY))

    assert isinstance(answer, KazooException)
