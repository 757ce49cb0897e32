"""The table of scores in terminals of several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from xpnet.cli.score_table import score_table

SCORES = {"loss": 0.00012345, "accuracy": 0.98765, "balanced_accuracy": 0.98, "f1": 0.9, "auc": 0.999}
ROWS = {"train": {"samples": 60000, **SCORES}, "majority class": {"accuracy": 0.5, "balanced_accuracy": None}}
SHOWN = ("0.0001234", "0.9877", "0.9800", "0.9000", "0.9990", "60,000", "0.5000", "accuracy", "balanced", "AUC")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_score_and_no_name_is_cut(columns: int) -> None:
    file = io.StringIO()
    Console(width=columns, file=file).print(score_table("part", ROWS, columns))
    text = file.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= columns
    for cell in SHOWN:
        assert cell in text
    assert "majority" in text
