"""A table of store × property × result at the end of a run: ``pytest -p leaderlock.testing.summary``."""

from __future__ import annotations

from typing import Final

import pytest

__all__ = ["Summary", "pytest_configure"]

WORST_FIRST: Final = ("failed", "not tested", "not applicable", "kept")
"""A property is tested with several values; the worst result is the property's."""
DECLARED: Final = "declared unsupported: "


class Summary:
    """Gathers what became of every test of a contract, and draws it: a property a row, a store a column."""

    def __init__(self, title: str = "the contract, by store") -> None:
        self._title = title
        self._results: dict[str, dict[str, str]] = {}
        self._reasons: dict[tuple[str, str], None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        _, *classes, test = report.nodeid.split("[")[0].split("::")
        if classes and _is_of_the_contract(test) and (report.when == "call" or not report.passed):
            self.judge(report, store=classes[-1].removeprefix("Test"), test=test)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """A store that cannot have a property was not skipped: pytest counts it as what it is."""
        return ("not applicable", "n", "NOT APPLICABLE") if declared_reason(report) else None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._results:
            terminalreporter.section(self._title)
            terminalreporter.write_line(self.table())
            for store, reason in self._reasons:
                terminalreporter.write_line(f"not applicable: {store}: {reason}")

    def judge(self, report: pytest.TestReport, *, store: str, test: str) -> None:
        """Count what became of one test."""
        if reason := declared_reason(report):
            self._reasons[store, reason] = None
        missed = "not applicable" if reason else "not tested"
        self.note(store=store, test=test, result="kept" if report.passed else missed if report.skipped else "failed")

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


def declared_reason(report: pytest.TestReport) -> str:
    """Why the store cannot have the property, as its author said; nothing for every other result."""
    if not report.skipped or not isinstance(report.longrepr, (tuple, list)):
        return ""
    _, found, reason = str(report.longrepr[-1]).partition(DECLARED)
    return reason if found else ""


def _is_of_the_contract(test: str) -> bool:
    from leaderlock.testing import BackendContract

    return hasattr(BackendContract, test)


def pytest_configure(config: pytest.Config) -> None:
    """Called by pytest."""
    config.pluginmanager.register(Summary(), "leaderlock-summary")
