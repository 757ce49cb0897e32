"""The kernel that does many steps, built for the host and compared with the step itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compiler.fibers import ORDERS, build
from tests.compiler.training_steps import BACKEND, BATCH, CASES, CLOCKED, N, at_rate, data_of, started
from xpnet.backend import arrays_in
from xpnet.backend.steps import run_steps
from xpnet.nn.activations import ACTIVATIONS
from xpnet.nn.network import Network
from xpnet.nn.optimizers import OPTIMIZERS, get_optimizer
from xpnet.nn.step import make_step
from xpnet_backends.compiler.cuda_persistent import PersistentSource, passes
from xpnet_backends.compiler.trace import trace

STEPS = 5
THREADS = 64


def run_on_host(
    source: PersistentSource,
    folder: Path,
    data: tuple[np.ndarray, ...],
    state: list[np.ndarray],
    constants: list[np.ndarray],
    order: np.ndarray,
    mode: str,
) -> np.ndarray:
    """Do a step for each row of `order` in two launches, and return the losses."""
    kernel = build(source.text, folder)
    losses = np.full(len(order), np.nan, state[0].dtype)
    first = len(order) // 2
    for start, stop in ((0, first), (first, len(order))):
        workspace = np.full(-(-source.memory // 8), np.nan)
        own = [] if source.blocks == 1 else [workspace, np.zeros(1, np.uint32)]
        arguments = [order[start:stop].copy(), losses[start:stop], stop - start, *own, *data, *state, *constants]
        shared = source.memory if source.blocks == 1 else 0
        kernel(arguments, source.blocks, source.threads, shared, ORDERS[mode])
    return losses


def same(
    network: Network,
    optimizer: str,
    dtype: str,
    folder: Path,
    *,
    blocks: int = 1,
    mode: str = "in order",
    weighted: bool = False,
    **options: Any,
) -> PersistentSource:
    step = make_step(network, get_optimizer(optimizer), BACKEND, **options)
    data = data_of(network, dtype, weighted=weighted)
    order = np.random.default_rng(2).integers(0, N, (STEPS, BATCH)).astype(np.int32)

    def with_rate() -> tuple[np.ndarray, Any]:
        params, state = started(network, optimizer, dtype)
        return params, at_rate(network, state, 0.02, dtype, clocked="rate_factor" in options)

    with np.errstate(all="ignore"):
        expected = arrays_in(run_steps(BACKEND.xp, step, *with_rate(), data, order))
    params, state = with_rate()
    program = passes(trace(step, params, state, [array[:BATCH] for array in data]))
    source = PersistentSource(program, THREADS, blocks)
    arrays = [np.array(array) for array in arrays_in((params, state))]
    losses = run_on_host(source, folder, data, arrays, list(program.constants.values()), order, mode)
    allowed = {"float64": 1e-11, "float32": 1e-3}[dtype]
    for mine, reference in zip([*arrays, losses], expected, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=allowed, atol=allowed)
    return source


@pytest.mark.subprocess
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_network(case: str, blocks: int, tmp_path: Path) -> None:
    same(Network(**CASES[case]), "adam", "float64", tmp_path, blocks=blocks, weighted=case != "classes")
