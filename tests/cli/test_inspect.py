"""``xpnet inspect``."""

from __future__ import annotations

import pytest

from tests.command_line import write_csv, xpnet

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize("width", [60, 80])
def test_names_are_whole_on_a_narrow_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.cli.console._WIDE", width)
    names = ["open_il_6m", "open_il_12m", "open_il_24m", "a_name_that_is_long_1", "a_name_that_is_long_2"]
    data = write_csv("loans.csv", ",".join(names), *(",".join([f"{i}.5"] * 5) for i in range(40)))
    code, out, _ = xpnet("inspect", data)
    assert code == 0
    assert "…" not in out
    lines = out.splitlines()
    assert max(map(len, lines)) <= width
    start = next(line.index("taken") for line in lines if "taken" in line)
    folded = "".join(line[:start].strip() for line in lines[1:])
    assert [name for name in names if name not in folded] == []
