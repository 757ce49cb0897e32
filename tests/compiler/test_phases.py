"""What a kernel of many steps does between barriers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.compiler.training_steps import BACKEND, BATCH, CASES, data_of, started
from xpnet.backend import arrays_in
from xpnet.nn.network import Network
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import make_step
from xpnet_backends.compiler.cuda_persistent import passes
from xpnet_backends.compiler.ir import Instruction, Program
from xpnet_backends.compiler.numpy_codegen import NumpyProgram
from xpnet_backends.compiler.ops import Op
from xpnet_backends.compiler.phases import Task, phases
from xpnet_backends.compiler.pieces import in_pieces, partial_sums
from xpnet_backends.compiler.simplify import fold_casts, place_pieces
from xpnet_backends.compiler.trace import trace


def traced(case: str, *, weighted: bool = True, **options: Any) -> Program:
    network = Network(**CASES[case])
    step = make_step(network, get_optimizer("adam"), BACKEND, **options)
    data = [array[:BATCH] for array in data_of(network, "float64", weighted=weighted)]
    return trace(step, *started(network, "adam", "float64"), data)


def order_of(program: Program, n_rows: int) -> list[Task]:
    """Return the tasks in the order in which one thread does them."""
    return [task for phase in phases(program, n_rows) for tasks in (*phase.stages, phase.tasks) for task in tasks]


def conflict(a: Instruction, b: Instruction) -> bool:
    return any(map(a.out.overlaps, b.values)) or any(map(b.out.overlaps, a.reads))


@pytest.mark.parametrize("n_rows", [0, BATCH])
@pytest.mark.parametrize("case", CASES)
def test_each_instruction_once_and_in_order(case: str, n_rows: int) -> None:
    program = passes(traced(case, clip_norm=3.0))
    done = [instruction for task in order_of(program, n_rows) for instruction in task.instructions]
    places = {id(instruction): k for k, instruction in enumerate(done)}
    assert sorted(places) == sorted(map(id, program.instructions))
    assert len(done) == len(places)
    for k, later in enumerate(program.instructions):
        for earlier in program.instructions[:k]:
            assert not conflict(earlier, later) or places[id(earlier)] < places[id(later)], (str(earlier), str(later))


@pytest.mark.parametrize("case", CASES)
def test_tasks_of_a_phase_need_nothing_of_one_another(case: str) -> None:
    program = passes(traced(case, clip_norm=3.0))
    for phase in (*phases(program), *phases(program, BATCH)):
        groups = [[task] for task in phase.tasks]
        groups += [[task for stage in phase.stages for task in stage]] if phase.stages else []
        for k, group in enumerate(groups):
            others = [each for other in groups[:k] for task in other for each in task.instructions]
            for task in group:
                assert not any(conflict(each, other) for each in task.instructions for other in others)


def test_an_update_joins_the_product_that_makes_its_gradient() -> None:
    program = passes(traced("classes", weighted=False))
    plan = phases(program)
    assert len(plan) == 5
    *_, last = plan
    assert [task.first.op for task in last.tasks] == [Op.MATMUL, Op.MATMUL, Op.SUM]
    for task in last.tasks:
        assert task.instructions[-1].out.buffer is program.state[0].buffer


def test_blocks_go_on_with_their_rows() -> None:
    first, last = phases(passes(traced("classes", weighted=False)), BATCH)
    assert [[task.first.op for task in stage] for stage in first.stages] == [
        [Op.MATMUL], [Op.MATMUL], [Op.MAX], [Op.MATMUL]
    ]  # fmt: skip
    assert last.stages == ()


def test_rows_that_others_need() -> None:
    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        hidden = np.tanh(batch[0])
        hidden = hidden - hidden[0]  # a row of another block
        return params, state, np.sum(np.sum(hidden, axis=1))

    plan = phases(passes(trace(step, np.zeros(2), (), [np.zeros((8, 3))])), 8)
    assert [(len(phase.stages), len(phase.tasks)) for phase in plan] == [(1, 0), (1, 0), (0, 1)]


@pytest.mark.parametrize("case", ["penalties", "forward scaling"])
def test_pieces_compute_the_same(case: str) -> None:
    plain = place_pieces(fold_casts(traced(case, clip_norm=3.0)))
    network = Network(**CASES[case])
    data = data_of(network, "float64", weighted=True)
    order = np.arange(2 * BATCH, dtype=np.int32).reshape(2, BATCH)
    results = []
    for program in (plain, in_pieces(plain), partial_sums(in_pieces(plain))):
        state = [array.copy() for array in map(np.asarray, arrays_in(started(network, "adam", "float64")))]
        losses = NumpyProgram(program, state).run(data, order)
        results.append([*state, losses])
    assert len(passes(traced(case)).instructions) > len(plain.instructions)
    for mine, reference in zip((*results[1], *results[2]), 2 * results[0], strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-12, atol=1e-12)
