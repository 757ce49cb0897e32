"""The pass that gives matrix products their epilogues, alone: what it joins, what it leaves, and that results stay."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.compiler.training_steps import BACKEND, BATCH, CASES, data_of, started
from xpnet.backend import arrays_in
from xpnet.bench.workloads import get_workloads
from xpnet.nn.network import Network
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import init_state, make_step
from xpnet_backends.compiler import cuda_codegen
from xpnet_backends.compiler.cuda_codegen import CudaSource, passes
from xpnet_backends.compiler.epilogues import Epilogue, Product, epilogues, product_of
from xpnet_backends.compiler.ir import Buffer, Group, Instruction, Kind, Loop, Program, Role
from xpnet_backends.compiler.ops import Op
from xpnet_backends.compiler.program_cache import host_memory
from xpnet_backends.compiler.trace import trace

NONE, BIAS, BIAS_RELU, BIAS_RELU_MASK, MASK, MASK_SUMS, SUMS = Epilogue


def any_product(product: Product) -> bool:
    return True


def without(*refused: Epilogue) -> Callable[[Product], bool]:
    return lambda product: product.epilogue not in refused


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small matrices have kernels of their own, as large ones have."""
    monkeypatch.setattr(cuda_codegen, "_SMALL", 1)


def program_of(network: Network, dtype: str = "float64") -> tuple[Program, Any]:
    """Return the program of a step before the passes, and its parameters and state."""
    step = make_step(network, get_optimizer("momentum"), BACKEND)
    params, state = started(network, "momentum", dtype)
    return trace(step, params, state, [each[:BATCH] for each in data_of(network, dtype, weighted=False)]), (
        params,
        state,
    )


def found(program: Program) -> list[Epilogue]:
    return [product_of(each).epilogue for each in program.groups if each.kind in (Kind.SINGLE, Kind.PRODUCT)]


def run(program: Program, network: Network, arrays: Any, dtype: str = "float64") -> list[np.ndarray]:
    """Do each instruction by NumPy, and return parameters, state and loss."""
    memory = host_memory(program, arrays_in(arrays))
    for value, array in zip(program.batch, data_of(network, dtype, weighted=False), strict=True):
        memory(value)[...] = array[:BATCH]
    for op, inputs, out, axis in program.instructions:
        operands = [each if isinstance(each, np.generic) else memory(each) for each in inputs]
        if op is Op.CAST:
            memory(out)[...] = operands[0]
        elif op.is_reduction:
            memory(out)[...] = getattr(np, op.numpy)(*operands, axis=axis)
        else:
            memory(out)[...] = getattr(np, op.numpy)(*operands)
    return [*arrays_in(arrays), memory(program.loss)]


def test_the_example() -> None:
    result = doctest.testmod(importlib.import_module("xpnet_backends.compiler.epilogues"))
    assert result.attempted >= 2
    assert result.failed == 0


@pytest.mark.parametrize(
    ("name", "launches", "joined"),
    [
        ("mnist-large", (17, 11), [BIAS_RELU_MASK, BIAS_RELU_MASK, NONE, NONE, MASK_SUMS, NONE, MASK_SUMS, NONE]),
        ("wide", (19, 12), [BIAS_RELU_MASK, BIAS_RELU_MASK, NONE, SUMS, MASK_SUMS, NONE, MASK_SUMS, NONE]),
    ],
)
def test_launches_of_a_step(
    name: str, launches: tuple[int, int], joined: list[Epilogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    (workload,) = get_workloads((name,))
    optimizer = get_optimizer(workload.optimizer)
    params = np.broadcast_to(np.float32(0), workload.network.n_parameters)
    batch = [np.zeros((workload.batch, workload.sizes[0]), np.float32), np.zeros(workload.batch, np.int32)]
    state = init_state(workload.network, optimizer, params, 0, BACKEND)
    program = trace(make_step(workload.network, optimizer, BACKEND), params, state, batch)
    plain, fused = passes(program), passes(program, any_product)
    assert tuple(len(CudaSource(each, 1).launches) for each in (plain, fused)) == launches
    assert found(fused) == joined
    assert {*found(plain)} == {NONE}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("refused", [(), (BIAS_RELU_MASK,), (MASK_SUMS, SUMS), (BIAS_RELU,)])
def test_the_results_of_a_step_stay(case: str, refused: tuple[Epilogue, ...]) -> None:
    network = Network(**CASES[case])
    program, arrays = program_of(network)
    before = run(passes(program), network, arrays)
    program, arrays = program_of(network)
    for mine, reference in zip(run(passes(program, without(*refused)), network, arrays), before, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("refused", "joined"),
    [
        ((), [BIAS_RELU_MASK, BIAS_RELU_MASK, NONE, SUMS, MASK_SUMS, NONE, MASK_SUMS, NONE]),
        ((MASK_SUMS,), [BIAS_RELU_MASK, BIAS_RELU_MASK, NONE, SUMS, MASK, SUMS, MASK, SUMS]),
        ((MASK,), [BIAS_RELU, BIAS_RELU, NONE, SUMS, NONE, SUMS, NONE, SUMS]),
        ((BIAS_RELU_MASK,), [BIAS_RELU, BIAS_RELU, NONE, SUMS, NONE, SUMS, NONE, SUMS]),
        ((BIAS_RELU, SUMS), [NONE] * 11),
    ],
)
def test_what_is_refused_stays(refused: tuple[Epilogue, ...], joined: list[Epilogue]) -> None:
    network = Network((7, 33, 20, 4), activation="relu")
    program = passes(program_of(network)[0], without(*refused))
    assert found(program) == joined


@pytest.mark.parametrize(
    ("options", "joined"),
    [
        ({"activation": "identity"}, {NONE, BIAS, SUMS}),
        ({"activation": ("relu", "tanh")}, {NONE, BIAS_RELU_MASK, MASK_SUMS, SUMS}),
        ({"activation": ("tanh", "relu")}, {NONE, BIAS_RELU_MASK, MASK_SUMS, SUMS}),
        ({"activation": "leaky_relu"}, {NONE, SUMS}),
        ({"activation": "relu", "dropout": 0.5}, {NONE, BIAS_RELU, SUMS}),
        ({"activation": "relu", "parametrization": "ntk"}, {NONE, SUMS}),
        ({"activation": "gelu_tanh"}, {NONE, SUMS}),
    ],
)
def test_other_activations(options: dict[str, Any], joined: set[Epilogue]) -> None:
    assert {*found(passes(program_of(Network((7, 33, 20, 4), **options))[0], any_product))} == joined


def test_a_mask_has_rows_of_128_bits() -> None:
    program = passes(program_of(Network((7, 129, 128, 4), activation="relu"))[0], any_product)
    products = [product_of(each) for each in program.groups if each.kind is Kind.PRODUCT]
    shapes = {each.mask.shape: each.mask.buffer.shape for each in products if each.mask is not None}
    assert shapes == {(BATCH, 129): (BATCH, 256), (BATCH, 128): (BATCH, 128)}


@pytest.mark.parametrize(
    ("change", "joined"),
    [
        (lambda z, a, delta: np.sum(delta, axis=0), [BIAS_RELU_MASK, NONE, MASK_SUMS]),
        (lambda z, a, delta: np.sum(delta * delta, axis=0), [BIAS_RELU, NONE, NONE, NONE]),
        (lambda z, a, delta: np.sum(delta, axis=0) + np.sum(z, axis=0), [NONE] * 5),
        (lambda z, a, delta: np.sum(delta, axis=0) + np.sum(a, axis=0), [NONE] * 5),
    ],
)
def test_results_that_others_need(change: Callable[[Any, Any, Any], Any], joined: list[Epilogue]) -> None:
    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        x, weights = batch
        z = x @ weights
        z += params
        a = np.maximum(z, 0.0)
        delta = ((a @ weights) @ weights.T) * (a > 0).astype("f8")
        params += change(z, a, delta)
        return params, state, np.sum(params)

    batch = [np.zeros((5, 4)), np.zeros((4, 4))]
    assert found(passes(trace(step, np.zeros(4), (), batch), any_product)) == joined


def test_a_sum_that_cannot_move_to_the_product() -> None:
    """Its place is read between the two."""
    x, delta, ones, sums, before, gradient = (
        Buffer(k, shape, np.dtype("f8"), role).whole
        for k, (shape, role) in enumerate(
            [((5, 4), Role.BATCH), ((5, 3), Role.BATCH), ((5,), Role.CONSTANT), ((3,), Role.STATE),
             ((3,), Role.STATE), ((4, 3), Role.TEMPORARY)]
        )
    )  # fmt: skip
    product = Instruction(Op.MATMUL, (x.T, delta), gradient)
    reader = Instruction(Op.ADD, (before, sums), before)
    total = Instruction(Op.MATMUL, (ones, delta), sums)
    kinds = {Op.MATMUL: Kind.SINGLE, Op.ADD: Kind.ELEMENTS}
    for order, joined in (([product, reader, total], [NONE, NONE]), ([product, total, reader], [SUMS])):
        groups = tuple(Group(kinds[each.op], (Loop((each,), (each.out,)),)) for each in order)
        program = Program(tuple(order), (x, delta), (sums, before), before, groups=groups)
        assert found(epilogues(program, any_product)) == joined


def epilogues_of(
    *, bias: Any = None, least: float = 0.0, above: float = 0.0, columns: int = 4, reuse: bool = False
) -> list[Epilogue]:
    """Return the epilogues of a step that differs a little from one that has them."""

    def step(params: Any, state: Any, batch: tuple[Any, ...]) -> Any:
        x, weights = batch
        z = x @ weights
        z += params if bias is None else bias
        a = np.maximum(z, least)
        upper = a @ weights
        params += np.sum(a.T @ upper, axis=1)
        grad = upper @ weights[:columns, :].T
        positive = (a[:, :columns] > above).astype("f8")
        delta = grad * positive
        params += np.sum(x.T @ delta, axis=1) + np.sum(x, axis=0)
        if reuse:
            params += np.sum(positive, axis=0)
        return params, state, np.sum(params)

    batch = [np.zeros((5, 4)), np.zeros((4, 4))]
    return found(passes(trace(step, np.zeros(4), (), batch), any_product))


@pytest.mark.parametrize(
    ("change", "joined"),
    [
        ({}, [BIAS_RELU_MASK, NONE, NONE, MASK, NONE, NONE]),  # the last product is the sum of another matrix
        ({"bias": np.zeros((5, 4))}, [NONE] * 6),
        ({"bias": np.zeros((5, 1))}, [NONE] * 6),
        ({"least": 1.0}, [NONE] * 6),
        ({"above": 1.0}, [BIAS_RELU, *[NONE] * 5]),
        ({"columns": 2}, [BIAS_RELU, *[NONE] * 5]),
        ({"reuse": True}, [BIAS_RELU, *[NONE] * 6]),
    ],
)
def test_what_differs_a_little_stays(change: dict[str, Any], joined: list[Epilogue]) -> None:
    assert epilogues_of(**change) == joined


def test_a_mask_of_a_result_that_was_overwritten() -> None:
    """The mask is that of the last result in this memory, not of an earlier product's."""
    network = Network((7, BATCH, BATCH, 4), activation="relu")
    program = passes(program_of(network)[0], any_product)
    masks = [product_of(each).mask for each in program.groups if each.kind is Kind.PRODUCT]
    assert masks[:2] == [masks[-1], masks[-2]]
    assert masks[0] != masks[1]


def test_the_order_of_instructions_is_that_of_the_groups() -> None:
    program = passes(program_of(Network((7, 20, 4), activation="relu"))[0], any_product)
    grouped: list[Instruction] = [
        each for group in program.groups for loop in group.loops for each in loop.instructions
    ]
    assert grouped == list(program.instructions)
