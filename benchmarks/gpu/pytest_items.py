"""Section 3: a plug-in of pytest that records each failed test at once, and the number of passed ones as it grows."""

from __future__ import annotations

import os
import time
from typing import Any

from record import record

_EVERY = 5.0  # seconds between two counts
_counts = {"passed": 0, "failed": 0, "skipped": 0}
_last = [time.monotonic()]


def pytest_runtest_logreport(report: Any) -> None:
    """Record a result, in the process that hands out the tests."""
    if "PYTEST_XDIST_WORKER" in os.environ or (report.when != "call" and report.outcome == "passed"):
        return
    _counts[report.outcome] += 1
    if report.outcome == "failed":
        record(f"test {report.nodeid}", error=str(report.longrepr)[-1500:])
    if time.monotonic() - _last[0] > _EVERY:
        _last[0] = time.monotonic()
        record("tests so far", error="", **_counts)


def pytest_collectreport(report: Any) -> None:
    """Record a module that cannot be imported."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        record(f"collect {report.nodeid}", error=str(report.longrepr)[-1500:])


def pytest_sessionfinish() -> None:
    """Record the last count."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        record("tests", error="", **_counts)
