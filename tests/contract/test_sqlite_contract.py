"""The SQLite driver keeps the contract."""

import sqlite3
from contextlib import closing

import pytest

from leaderlock.testing import BackendContract
from leaderlock.testing.contract._watching import Watching
from leaderlock_sqlite import _backend, _bell, open_backend

NOT_IN_A_FILE = {
    "outage": "a local file has no connection that could be refused",
    "freeze": "a read waits for nobody, so there is nobody that could fall silent",
}


class TestSqliteWithoutInotify(Watching):
    """Its traits deny that changes are pushed, on a system that has no way to."""

    @pytest.fixture
    def make_backend(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_backend, "has_inotify", lambda: False)
        monkeypatch.setattr(_bell, "has_inotify", lambda: False)
        return lambda namespace: open_backend(f"sqlite:///{tmp_path}/leader.db", namespace=namespace)

    unsupported = NOT_IN_A_FILE

    def test_its_traits_deny_it(self, backend):
        assert not backend.traits.pushes


class TestSqlite(BackendContract):
    unsupported = NOT_IN_A_FILE

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "leader.db"

    @pytest.fixture
    def make_backend(self, path):
        return lambda namespace: open_backend(f"sqlite:///{path}", namespace=namespace)

    @pytest.fixture
    def by_hand(self, path):
        """Runs statements as a person with the sqlite3 shell would."""

        def run(*statements: tuple[str, dict[str, object]]) -> None:
            with closing(sqlite3.connect(path)) as shell, shell:
                for statement, values in statements:
                    shell.execute(statement, values)

        return run

    @pytest.fixture
    def restart_store(self, by_hand):
        # There is no server; what a restart of the machine leaves behind is a file whose log was read back.
        return lambda: by_hand(("PRAGMA wal_checkpoint(TRUNCATE)", {}))

    @pytest.fixture
    def wipe_store(self, by_hand):
        def wipe() -> None:
            by_hand(("DELETE FROM registers", {}), ("DELETE FROM deletions", {}), ("DELETE FROM namespaces", {}))

        return wipe

    @pytest.fixture
    def delete_by_hand(self, by_hand):
        return lambda key: by_hand(("DELETE FROM registers WHERE key = :key", {"key": key}))

    @pytest.fixture
    def overwrite_by_hand(self, by_hand):
        def overwrite(key: str, value: bytes) -> None:
            by_hand(
                ("UPDATE namespaces SET stamp = stamp + 1", {}),
                (
                    "UPDATE registers SET value = :value, stamp = (SELECT stamp FROM namespaces WHERE id = space)"
                    " WHERE key = :key",
                    {"key": key, "value": value},
                ),
            )

        return overwrite
