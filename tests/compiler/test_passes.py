"""The tracer, the passes and the printed programs, each alone."""

from __future__ import annotations

import doctest
import importlib
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from xpnet.errors import XpnetWarning
from xpnet_backends.compiler.fuse import apart, fuse, join_blocks, may_fuse, same_elements, same_rows
from xpnet_backends.compiler.ir import Buffer, Instruction, Kind, Program, Role, Value, value_of
from xpnet_backends.compiler.memory_plan import memory_plan, narrow_by_columns, reuse_buffers
from xpnet_backends.compiler.numba_codegen import NumbaSource
from xpnet_backends.compiler.numba_codegen import passes as numba_passes
from xpnet_backends.compiler.numpy_codegen import NumpyProgram
from xpnet_backends.compiler.ops import Op, UntraceableError
from xpnet_backends.compiler.program_cache import ProgramCache, host_memory, on_host
from xpnet_backends.compiler.simplify import fold_casts, place_pieces, simplify, sums_as_products
from xpnet_backends.compiler.trace import trace

Step = Callable[[Any, Any, Any], Any]
X = np.arange(12.0).reshape(4, 3)


def step_of(function: Callable[[Any, Any], Any]) -> Step:
    """A step that adds a function of parameters and inputs to the parameters; the loss is its sum."""

    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        change = function(params, batch[0])
        params += change
        return params, state, np.sum(change)

    return step


def traced(function: Callable[[Any, Any], Any], n: int = 3) -> Program:
    return trace(step_of(function), np.zeros(n), (), [X])


@pytest.mark.parametrize("name", ["fuse", "memory_plan", "simplify", "split_reductions", "trace"])
def test_the_examples_of_the_passes(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"xpnet_backends.compiler.{name}"))
    assert result.attempted >= 2
    assert result.failed == 0


# The tracer and the views.


def test_a_constant_is_stored_row_by_row_whatever_its_order() -> None:
    table = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    step = step_of(lambda params, x: np.sum(x @ table, axis=0))
    program = trace(step, np.zeros(4), (), [X])
    (constant,) = program.constants.values()
    assert constant.flags.c_contiguous
    params = np.zeros(4)
    NumpyProgram(program, [params]).run((X,), np.arange(4)[None, :])
    np.testing.assert_array_equal(params, np.sum(X @ table, axis=0))


VIEWS: dict[str, Callable[[Any], Any]] = {
    "a row": lambda x: x[1],
    "a negative row": lambda x: x[-1],
    "rows": lambda x: x[1:3],
    "every other column": lambda x: x[:, ::2],
    "rows and the rest": lambda x: x[1:3, ...],
    "everything": lambda x: x[()],
    "no rows": lambda x: x[4:],
    "a new axis": lambda x: x[:, 0][:, None],
    "a new first axis": lambda x: x[0][None],
    "the transposed": lambda x: x.T,
    "the transposed of rows": lambda x: x[1:].T[:, 1:],
    "a vector": lambda x: np.reshape(x, (-1,)),
    "another shape": lambda x: np.reshape(x, (2, -1)),
    "a matrix of one column": lambda x: np.reshape(x, (12, 1)),
    "a vector of the transposed": lambda x: np.reshape(x.T, (-1,)),
    "rows of a vector": lambda x: np.reshape(x, (-1,))[3:9],
}


@pytest.mark.parametrize("name", VIEWS)
def test_views(name: str) -> None:
    view, params = VIEWS[name], np.zeros(VIEWS[name](X).shape)
    program = trace(step_of(lambda params, x: view(x) * 1.0), params, (), [X])
    NumpyProgram(program, [params]).run((X,), np.arange(4)[None, :])
    np.testing.assert_array_equal(params, view(X))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda p, x: x if x[0, 0] > 0 else -x, "a decision on a value"),
        (lambda p, x: p + x.real, "the attribute real"),
        (lambda p, x: p + x[np.asarray([0])], "the index"),
        (lambda p, x: p + x[::-1], "the index slice"),
        (lambda p, x: p + x[..., 0], "the index Ellipsis"),
        (lambda p, x: p + np.cumsum(x), "cumsum"),
        (lambda p, x: p + np.cbrt(p), "cbrt"),
        (lambda p, x: p + np.add.reduce(p), "add.reduce"),
        (lambda p, x: p + np.add(p, p, where=True), "add.__call__ where"),
        (lambda p, x: p + np.sum(x, where=[True]), "sum where"),
        (lambda p, x: p + (x @ p), "not matrices"),
        (lambda p, x: p + x[:, :, None], "3 dimensions"),
        (lambda p, x: p + np.add(x[0], 1.0, out=np.zeros(3)), "a constant that is written"),
    ],
)
def test_what_cannot_be_traced(function: Callable[[Any, Any], Any], reason: str) -> None:
    with pytest.raises(UntraceableError, match=reason):
        traced(function)


def test_a_loss_must_depend_on_the_batch_and_the_state_stay_in_its_place() -> None:
    with pytest.raises(UntraceableError, match="does not depend"):
        trace(lambda params, state, batch: (params, state, 1.0), X, (), [X])
    with pytest.raises(UntraceableError, match="change places"):
        trace(lambda params, state, batch: (params, state[::-1], np.sum(batch[0])), X, (X, X), [X])


def test_numbers_have_the_type_that_the_operation_computes_in() -> None:
    program = trace(step_of(lambda params, x: x * 2 + 0.5), np.zeros((4, 3), "f4"), (), [X.astype("f4")])
    numbers = [each for i in program.instructions for each in i.inputs if not isinstance(each, Value)]
    assert [number.dtype for number in numbers] == [np.float32, np.float32]


def test_state_that_is_made_anew_is_copied_to_its_place() -> None:
    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        return params, (state[0] + 1, np.ones(2)), np.sum(batch[0])

    state = (np.zeros((), np.int32), np.zeros(2))
    program = NumpyProgram(trace(step, X, state, [X]), [X, *state])
    program.run((X,), np.zeros((3, 4), int))
    assert state[0] == 3
    np.testing.assert_array_equal(state[1], 1)


def test_a_program_prints_its_views() -> None:
    matrix = Buffer(7, (4, 3), np.dtype("f4"))
    vector, columns = Buffer(8, (12,), np.dtype(bool)), Buffer(9, (4, 3), np.dtype("i8"), by_columns=True)
    whole, part = matrix.whole, value_of(vector, (2, 3), (3, 1), 6)
    values = [whole, whole.T, vector.whole, part, part.T, columns.whole, value_of(vector, (12, 1), (1, 0))]
    assert [str(each) for each in values] == ["%7", "%7.T", "%8", "%8[6:12](2,3)", "%8[6:12](2,3).T", "%9", "%8(12,1)"]
    assert str(value_of(matrix, (4,), (3,), 1)) == "%7[1, strides 3](4)"
    assert [each.declaration for each in (whole, part, columns.whole)] == [
        "%7: f32[4,3]",
        "%8[6:12]: bool[2,3]",
        "%9: i64[4,3] by columns",
    ]


def test_values_overlap_where_their_ranges_meet() -> None:
    buffer = Buffer(0, (12,), np.dtype("f8"))
    first, second = value_of(buffer, (6,), (1,)), value_of(buffer, (6,), (1,), 6)
    assert not first.overlaps(second)
    assert first.overlaps(value_of(buffer, (2, 2), (5, 1), 5))
    assert not second.overlaps(value_of(buffer, (2, 2), (3, 1), 1))
    assert not first.overlaps(value_of(Buffer(0, (12,), np.dtype("f8")), (6,), (1,)))


def test_state_must_be_contiguous() -> None:
    with pytest.raises(UntraceableError, match="not contiguous"):
        host_memory(traced(lambda params, x: x[0]), [np.zeros(6)[::2]])


# The passes.


def instructions(program: Program) -> list[str]:
    return [str(each) for each in program.instructions]


def test_only_a_lone_comparison_is_folded() -> None:
    program = traced(lambda params, x: (x > 0).astype("f8")[0] * (x > 1).astype("f8")[0])
    assert [each.op for each in fold_casts(program).instructions if each.op is Op.CAST] == []

    def twice(params: Any, x: Any) -> Any:
        positive = x[0] > 0
        return positive.astype("f8") + np.where(positive, params, 1.0)

    assert instructions(fold_casts(traced(twice))) == instructions(traced(twice))


@pytest.mark.parametrize("axis", [0, 1])
def test_pieces_are_computed_or_copied_to_their_place(axis: int) -> None:
    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        double = batch[0] * 2.0
        whole = np.concatenate([double, batch[0] + 1.0, double, batch[0]], axis=axis)
        params += whole
        return params, state, np.sum(double)  # read later

    params = np.concatenate([X] * 4, axis=axis) * 0
    program = trace(step, params, (), [X])
    placed = place_pieces(program)
    assert not any(each.op is Op.CONCAT for each in placed.instructions)
    assert sum(each.op is Op.CAST for each in placed.instructions) == (3 if axis == 0 else 4)
    NumpyProgram(program, [params]).run((X,), np.arange(4)[None, :])
    np.testing.assert_array_equal(params, np.concatenate([X * 2, X + 1, X * 2, X], axis=axis))


def test_a_concatenation_of_concatenations_has_its_pieces_in_place() -> None:
    program = traced(lambda params, x: np.concatenate([np.concatenate([x[0] * 2, x[1] * 3]), x[2] * 4]), 9)
    places = [str(each.out).partition("(")[0] for each in place_pieces(program).instructions[:3]]
    assert [place.partition("[")[2] for place in places] == ["0:3]", "3:6]", "6:9]"]


def test_a_product_is_not_written_over_its_factor_but_over_an_earlier_product() -> None:
    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        first = batch[0] @ batch[0]
        second = first @ batch[0]
        return params, state, np.sum(second @ batch[0])

    square = np.zeros((70, 70))  # narrow products are not shared
    program = reuse_buffers(trace(step, np.zeros(1), (), [square]))
    first, second, third = (each for each in program.instructions if each.op is Op.MATMUL)
    assert first.out.buffer is not second.out.buffer
    assert third.out.buffer is first.out.buffer


def test_only_sums_of_large_matrices_of_floats_become_products() -> None:
    program = traced(lambda params, x: np.sum(x, axis=0) + np.max(x, axis=0) + np.sum(x[:, 0]))
    assert [each.op for each in sums_as_products(program).instructions].count(Op.MATMUL) == 1
    assert instructions(sums_as_products(program, smallest=12)) == instructions(program)


def test_state_is_never_a_place_for_other_results() -> None:
    program = reuse_buffers(traced(lambda params, x: np.tanh(params) * x[0]))
    for each in program.instructions[:-2]:
        assert each.out.buffer.role is Role.TEMPORARY


def test_a_matrix_that_is_also_seen_as_a_vector_stays_in_rows() -> None:
    def function(params: Any, x: Any) -> Any:
        z = x * 2.0
        return np.max(z, axis=1) + np.reshape(z, (-1,))[:4]  # across the rows

    assert not any(each.out.buffer.by_columns for each in narrow_by_columns(traced(function, 4)).instructions)


def test_views_of_a_matrix_by_columns_are_the_same_elements() -> None:
    def function(params: Any, x: Any) -> Any:
        z = x * 2.0
        z -= np.max(z, axis=1, keepdims=True)
        return z[1:3, 1:].T[0][:1] + z[2] + np.sum(z, axis=0)

    program, params = traced(function), np.zeros(3)
    assert any(each.out.buffer.by_columns for each in memory_plan(program).instructions)
    NumpyProgram(program, [params]).run((X,), np.arange(4)[None, :])
    np.testing.assert_array_equal(params, function(None, X))


def test_one_predicate_tells_what_may_be_fused() -> None:
    a, b, c = (Buffer(k, (4, 3), np.dtype("f8")).whole for k in range(3))
    rows = Buffer(3, (4,), np.dtype("f8")).whole
    write, read = Instruction(Op.EXP, (a,), b), Instruction(Op.EXP, (b,), c)
    assert may_fuse(read, [write], same_elements)
    assert may_fuse(read, [write], same_rows)
    assert not may_fuse(read, [write], apart)
    assert not may_fuse(write, [read], apart)
    assert may_fuse(Instruction(Op.EXP, (a,), c), [write], apart)
    sums = Instruction(Op.SUM, (b,), rows, 1)
    assert may_fuse(sums, [write], same_rows)
    turned = Instruction(Op.EXP, (b.T,), c.T)
    assert not may_fuse(turned, [write], same_elements)
    first_row = Instruction(Op.EXP, (value_of(b.buffer, (1, 3), (0, 1)),), c)
    assert not may_fuse(first_row, [write], same_rows)
    assert not may_fuse(Instruction(Op.EXP, (a,), b), [write, Instruction(Op.EXP, (b.T,), c)], same_elements)


def kind_of(instruction: Instruction) -> Kind:
    return Kind.ELEMENTS if instruction.op.is_elementwise else Kind.SINGLE


def test_a_number_between_does_not_break_a_loop_in_two() -> None:
    def function(params: Any, x: Any) -> Any:
        y = x[0] * 2.0
        number = np.sqrt(params[:1])
        return y * number

    groups = [group for group in fuse(traced(function), kind_of).groups if group.kind is Kind.ELEMENTS]
    assert [[each.op for each in group.loops[0].instructions] for group in groups] == [
        [Op.SQRT],
        [Op.MULTIPLY, Op.MULTIPLY, Op.ADD],
    ]


def test_a_loop_waits_for_a_product_unless_told_otherwise() -> None:
    def function(params: Any, x: Any) -> Any:
        y = x * 2.0
        z = y @ x.T
        return np.sum(z) + np.sum(x - 1.0)

    program = traced(function, 1)
    first, *_ = (g for g in fuse(program, kind_of).groups if g.kind is Kind.ELEMENTS)
    assert [each.op for each in first.loops[0].instructions] == [Op.MULTIPLY]
    first, *_ = (g for g in fuse(program, kind_of, across_products=True).groups if g.kind is Kind.ELEMENTS)
    assert [each.op for each in first.loops[0].instructions] == [Op.MULTIPLY, Op.SUBTRACT]


def test_blocks_join_only_where_nothing_between_them_needs_the_first() -> None:
    def kind(instruction: Instruction) -> Kind:
        return Kind.ELEMENTS if instruction.op.is_elementwise and instruction.out.shape != () else Kind.BLOCK

    def kinds(function: Callable[[Any, Any], Any]) -> list[Kind]:
        program = fuse(trace(step_of(function), np.zeros(3), (), [X]), kind)
        joined = join_blocks(program)
        assert Counter(joined.instructions) == Counter(program.instructions)
        return [group.kind for group in joined.groups]

    through = kinds(lambda params, x: params * np.sum(x[1] * np.sum(x[0])))
    assert through == [Kind.BLOCK, Kind.ELEMENTS, Kind.BLOCK, Kind.ELEMENTS, Kind.BLOCK]
    beside = kinds(lambda params, x: params * (np.sum(x[0]) * np.sum(x[1] * 2.0)))
    assert beside == [Kind.ELEMENTS, Kind.BLOCK, Kind.ELEMENTS, Kind.BLOCK]


def test_results_that_are_not_read_again_are_not_stored() -> None:
    program = fuse(memory_plan(traced(lambda params, x: np.exp(np.tanh(x[0]) * 2.0))), kind_of)
    (loop,) = program.groups[0].loops
    assert [value.buffer for value in loop.stored] == [loop.instructions[-2].out.buffer, program.state[0].buffer]


def test_the_text_is_the_same_each_time() -> None:
    texts = [NumbaSource(numba_passes(traced(lambda params, x: np.sum(np.tanh(x * 2.0), axis=0)))).text for _ in "ab"]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda p, x: np.max(x, axis=0), "the reduction max"),
        (lambda p, x: p + np.sum(x), "the reduction sum of float64, axis=None"),
        (lambda p, x: np.sum(x[:, :2] @ x[:2, :], axis=0), "a product of matrices that are not contiguous"),
    ],
)
def test_what_numba_lacks(function: Callable[[Any, Any], Any], reason: str) -> None:
    with pytest.raises(UntraceableError, match=reason):
        NumbaSource(numba_passes(traced(function)))


EVERY: dict[str, Callable[[Any], Any]] = {
    "comparisons": lambda x: (x > 3).astype("f8") + (x >= 3) + 2.0 * (x < 5) + 4.0 * (x <= 5) + 8.0 * (x == 7),
    "extremes": lambda x: np.minimum(np.maximum(x, 3.0), x * 0.5) - np.max(x),
    "roots and logarithms": lambda x: np.sqrt(x) + np.log(x) * np.log1p(x),
    "signs": lambda x: np.sign(x - 3.0) * np.abs(-x),
    "exponentials": lambda x: np.exp(-x) + np.expm1(-x) / np.tanh(x),
    "integers": lambda x: (((x.astype("i4") >> 1) & 3) ^ 5).astype("f8"),
    "where": lambda x: np.where(x > 3, x, 0.0),
}


@pytest.mark.parametrize("block", [64, 1 << 17])
@pytest.mark.parametrize("name", EVERY)
def test_operations(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet_backends.compiler.numpy_codegen._BLOCK", block)
    function, params = EVERY[name], np.zeros((4, 3))
    program = trace(step_of(lambda params, x: function(x + 1.0)), params, (), [X])
    NumpyProgram(program, [params]).run((X,), np.arange(4)[None, :])
    np.testing.assert_allclose(params, function(X + 1.0), rtol=1e-15)


# The cache of bound programs.


def test_a_cache_compiles_at_most_so_many_programs() -> None:
    compiled: list[int] = []

    def compile_step(step: Any, params: Any, state: Any, data: Any, order: Any) -> Any:
        compiled.append(order.shape[1])
        return on_host(NumpyProgram)(step, params, state, data, order)

    run = ProgramCache(step_of(lambda params, x: np.sum(x, axis=0)), np, compile_step, at_least=2, at_most=2)
    params: Any = np.zeros(3)
    for n_steps, batch in ((1, 1), (2, 1), (1, 1), (2, 2), (2, 3), (2, 1)):
        params, _, losses = run(params, (), (X,), np.zeros((n_steps, batch), int))
        assert losses.shape == (n_steps,)
    assert compiled == [1, 2]
    np.testing.assert_array_equal(params, X[0] * (1 + 2 + 1 + 4 + 6 + 2))


def test_a_cache_compiles_a_shape_after_so_many_steps() -> None:
    compiled: list[int] = []

    def compile_step(step: Any, params: Any, state: Any, data: Any, order: Any) -> Any:
        compiled.append(order.shape[1])
        return on_host(NumpyProgram)(step, params, state, data, order)

    run = ProgramCache(step_of(lambda params, x: np.sum(x, axis=0)), np, compile_step, patience=3)
    params: Any = np.zeros(3)
    for n_steps, batch, done in ((2, 1, []), (3, 2, []), (2, 1, [1]), (9, 1, [1]), (4, 3, [1, 3]), (1, 2, [1, 3, 2])):
        params, _, _ = run(params, (), (X,), np.zeros((n_steps, batch), int))
        assert compiled == done
    np.testing.assert_allclose(params, X[0] * (2 + 6 + 2 + 9 + 12 + 2))


def test_other_arrays_of_the_same_shapes_are_copied_to_those_of_the_programs() -> None:
    run = ProgramCache(step_of(lambda params, x: np.sum(x, axis=0)), np, on_host(NumpyProgram))
    order = np.zeros((2, 1), int)
    first, _, _ = run(np.zeros(3), (), (X,), order)
    other = np.ones(3)
    again, _, _ = run(other, (), (X,), order)
    assert again is first
    np.testing.assert_allclose(again, 1 + 2 * X[0])
    np.testing.assert_array_equal(other, 1)
    wide, _, _ = run(np.zeros(3, np.float32), (), (X,), order)  # another dtype is another program
    assert wide.dtype == np.float32


def test_steps_alike_are_traced_once() -> None:
    traces: list[int] = []
    plain = step_of(lambda params, x: np.sum(x, axis=0))

    def step(*arguments: Any) -> Any:
        traces.append(1)
        return plain(*arguments)

    order, results = np.zeros((2, 1), int), []
    for start in (0.0, 1.0):  # each a run with arrays of its own
        params, _, _ = ProgramCache(step, np, on_host(NumpyProgram))(np.full(3, start), (), (X,), order)
        results.append(params)
    assert len(traces) == 1
    np.testing.assert_allclose(results, [2 * X[0], 1 + 2 * X[0]])
    ProgramCache(step, np, on_host(NumpyProgram))(np.zeros(3), (), (X,), np.zeros((2, 2), int))
    assert len(traces) == 2


def test_a_step_that_cannot_be_compiled_is_tried_once() -> None:
    run = ProgramCache(step_of(lambda params, x: np.cbrt(x[0])), np, on_host(NumpyProgram))
    with pytest.warns(XpnetWarning, match=r"uncompiled.*received cbrt\.__call__"):
        run(np.zeros(3), (), (X,), np.zeros((2, 1), int))
    run(np.zeros(3), (), (X,), np.zeros((2, 2), int))  # without another warning, which would be an error
    params, _, losses = run(np.zeros(3), (), (X,), np.zeros((2, 1), int))
    assert losses.shape == (2,)
    np.testing.assert_allclose(params, 2 * np.cbrt(X[0]))


def test_arrays_that_change_places_in_a_step_that_cannot_be_compiled() -> None:
    def step(params: Any, state: Any, batch: Any, xp: Any = np) -> Any:
        (before,) = state
        return params + batch[0][0] + 0.5 * (params - before), (params,), np.sum(batch[0])

    order = np.zeros((1, 1), int)
    run = ProgramCache(step, np, on_host(NumpyProgram))
    params, state = np.ones(3), (np.zeros(3),)
    plain, plain_state = np.ones(3), (np.zeros(3),)
    for i in range(4):
        with pytest.warns(XpnetWarning, match="change places") if i == 0 else nullcontext():
            params, state, _ = run(params, state, (X,), order)
        plain, plain_state, _ = step(plain, plain_state, (X[:1],))
        np.testing.assert_array_equal(params, plain)


def test_simplify_applies_every_rewrite() -> None:
    program = simplify(traced(lambda params, x: np.concatenate([np.sum((x > 0).astype("f8"), axis=0)])))
    assert not {Op.CAST, Op.CONCAT} & {each.op for each in program.instructions}
    assert program.instructions[1].op is Op.MATMUL
