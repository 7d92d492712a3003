"""A table of store × property × result at the end of a run: ``pytest -p leaderlock.testing.summary``."""

from __future__ import annotations

from typing import Final

import pytest

__all__ = ["Summary", "pytest_configure"]

WORST_FIRST: Final = ("failed", "unsupported", "kept")
"""A property is tested with several values; the worst result is the property's."""


class Summary:
    """Gathers what became of every test of a contract, and draws it: a property a row, a store a column."""

    def __init__(self) -> None:
        self._results: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        _, *classes, test = report.nodeid.split("[")[0].split("::")
        if classes and _is_of_the_contract(test) and (report.when == "call" or not report.passed):
            said = "kept" if report.passed else "unsupported" if report.skipped else "failed"
            self.note(store=classes[-1].removeprefix("Test"), test=test, result=said)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._results:
            terminalreporter.section("the contract, by store")
            terminalreporter.write_line(self.table())

    def note(self, *, store: str, test: str, result: str) -> None:
        """Count one result."""
        stores = self._results.setdefault(test.removeprefix("test_").replace("_", " "), {})
        stores[store] = min(result, stores.get(store, "kept"), key=WORST_FIRST.index)

    def table(self) -> str:
        """The table, as Markdown."""
        stores = sorted({store for row in self._results.values() for store in row})
        rows = [["property", *stores], ["---"] * (len(stores) + 1)]
        rows += [[name, *(row.get(store, "not run") for store in stores)] for name, row in self._results.items()]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _is_of_the_contract(test: str) -> bool:
    from leaderlock.testing import BackendContract

    return hasattr(BackendContract, test)


def pytest_configure(config: pytest.Config) -> None:
    """Called by pytest."""
    config.pluginmanager.register(Summary(), "leaderlock-summary")
