"""The sections of a report, for the kinds of models that the reports of runs in `tests/cli/test_report.py` lack."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from tests.models import CASES, X
from xpnet import Model
from xpnet.report.finished_run import FinishedRun
from xpnet.report.sections import report_page
from xpnet.training.history import EpochRecord


def page(name: str, members: int = 1) -> str:
    network, task, y, more = CASES[name]
    vectors = np.stack([network.init(seed).vector for seed in range(members)])
    model = Model(network, vectors if members > 1 else vectors[0], task, **more)
    return report_page(FinishedRun("data", model, {"train": (X, y), "test": (X, y)}, (), {}, {})).decode()


def titles(page: str) -> list[str]:
    return re.findall("<h3>(.*?)</h3>", page)


def test_several_targets_have_pictures_each() -> None:
    found = titles(page("values"))
    for title in ("Predicted against true", "Residuals", "Errors"):
        assert [each for each in found if each.startswith(title)] == [f"{title}, target 1", f"{title}, target 2"]


def test_several_labels_have_scores_each_and_no_confusion() -> None:
    text = page("labels")
    assert "Confusion matrix" not in titles(text)
    for label in ("1", "2"):
        assert f'<td class="text">{label}</td>' in text


@pytest.mark.parametrize("members", [1, 3])
def test_a_run_without_epochs_has_no_curves(members: int) -> None:
    text = page("text", members)
    assert 'id="learning"' not in text
    assert "Confusion matrix" in titles(text)
    assert "été" in text


def test_the_kept_epoch_is_named() -> None:
    network, task, y, more = CASES["one value"]
    model = Model(network, network.init(1).vector, task, **more)
    run = FinishedRun("data", model, {"data": (X, y)}, (), {"kept_epoch": 7}, {})
    assert "epoch 7" not in report_page(run).decode()  # without a history there is nothing to mark
    run = dataclasses.replace(run, history=[EpochRecord(7, 0.5, None, 0.1, 1.0, 1.0)])
    assert "The model has the parameters of epoch 7." in report_page(run).decode()
