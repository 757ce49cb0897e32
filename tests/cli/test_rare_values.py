"""One row of the validation part with rare values does not decide which epoch is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import train, write_csv
from xpnet.data.split import split_rows

N, N_FLAGS = 300, 8
KINDS = np.asarray(["a", "b", "c"])[np.arange(N) % 3]


def table(path: Path, rare: int, rare_in_validation: int) -> Path:
    """Write three classes that two numbers tell apart, beside columns that are 0 but for one row each, of class a.

    One row of the validation part, of class b, has rare values in all of them.
    """
    x = np.random.default_rng(0).normal(0, 1, (N, 2)) + np.asarray([[0, 0], [4, 0], [0, 4]])[np.arange(N) % 3]
    training, validation, _ = split_rows(KINDS, validation_fraction=0.1, test_fraction=0.2, stratify=True, seed=0)
    flags = np.zeros((N, N_FLAGS), dtype=int)
    flags[training[KINDS[training] == "a"][:N_FLAGS], np.arange(N_FLAGS)] = rare
    flags[validation[KINDS[validation] == "b"][0]] = rare_in_validation
    rows = (",".join([*(f"{z:.4f}" for z in x[i]), *map(str, flags[i]), KINDS[i]]) for i in range(N))
    return write_csv(path, ",".join(["u", "v", *(f"flag{i}" for i in range(N_FLAGS)), "kind"]), *rows)


@pytest.mark.parametrize("stopping", [(), ("--early-stopping", "loss:patience=inf")], ids=["default", "loss"])
@pytest.mark.parametrize(
    ("preset", "rare"),
    [
        pytest.param("plain", (1, 1), id="flags are not standardised"),
        pytest.param("tabular", (1, 1), id="nor with the preset for tables"),
        pytest.param("tabular", (1, 40_000), id="and numbers are clipped smoothly"),
    ],
)
def test_a_row_with_rare_values(
    preset: str, rare: tuple[int, int], stopping: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--target", "kind", "--preset", preset, "--hidden", 32, "--epochs", 40, "--json", "--device", "cpu")
    summary = json.loads(train(table(tmp_path / "table.csv", *rare), *options, *stopping).out)
    assert summary["test"]["accuracy"] > 0.9
    assert summary["validation"]["loss"] < 1
    assert summary["kept_epoch"] > 5
