"""Training on SciPy's sparse matrices: the same as on dense ones, and only a chunk at a time is made dense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tests.runs import StopAt
from xpnet.backend import Backend, get_backend
from xpnet.errors import DataError, InvalidParameterError
from xpnet.nn.network import Network
from xpnet.training import outputs as outputs_module
from xpnet.training import step_chunks
from xpnet.training.evaluation import evaluate
from xpnet.training.input_rows import InputRows
from xpnet.training.samples import host_inputs, to_samples
from xpnet.training.trainer import Run, RunState, Trainer

N, N_IN, K = 23, 7, 3
_rng = np.random.default_rng(4)
X = (_rng.standard_normal((N, N_IN)) * (_rng.random((N, N_IN)) < 0.3)).astype("float32").astype("float64")
Y = _rng.integers(0, K, N)
NETWORK = Network([N_IN, 6, K], activation="tanh", dropout=0.25)
FORMATS = {cls.__name__: cls for cls in (sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix, sparse.csr_array)}
BATCHES = [{"batch_size": 5}, {"batch_size": 5, "shuffle": False}, {"batch_size": None}, {"batch_size": 1}]


def fit(x: Any, device: Any = "cpu", dtype: str = "float32", state: RunState | None = None, **options: Any) -> Run:
    trainer = Trainer(NETWORK, epochs=3, device=device, dtype=dtype, **{"batch_size": 5, **options})
    return trainer.fit(x, Y, sample_weight=np.arange(N) % 3 + 0.5, validation=(x[:9], Y[:9]), state=state)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("options", BATCHES)
def test_the_same_bits_as_from_a_dense_array(form: str, options: dict[str, Any]) -> None:
    matrix = FORMATS[form](X)
    held_out = FORMATS[form](X[:9])
    trainer = Trainer(NETWORK, epochs=3, **options)
    run, expected = trainer.fit(matrix, Y, validation=(held_out, Y[:9])), trainer.fit(X, Y, validation=(X[:9], Y[:9]))
    np.testing.assert_array_equal(run.params.vector, expected.params.vector)
    assert [record[:4] for record in run.history] == [record[:4] for record in expected.history]
    np.testing.assert_array_equal(matrix.toarray(), X)  # and it is as it was


def test_every_backend_trains_on_sparse_inputs(backend: Backend, dtype: str, close: Any) -> None:
    run, expected = fit(sparse.csr_matrix(X), backend, dtype), fit(X, backend, dtype)
    close(run.params.vector, backend.to_numpy(expected.params.vector), terms=N)
    for record, other in zip(run.history, expected.history, strict=True):
        assert record.loss == pytest.approx(other.loss, rel=1e-4)
        assert record.validation == pytest.approx(other.validation, rel=1e-4)


@pytest.mark.parametrize("steps", [0.5, 1, 2, 3])
def test_in_chunks_on_every_backend(
    steps: float, backend: Backend, dtype: str, close: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_chunks, "_UPLOADED_ELEMENTS", int(steps * 5 * N_IN))
    close(fit(sparse.csr_matrix(X), backend, dtype).params.vector, fit(X, "cpu", dtype).params.vector, terms=10 * N)


@pytest.fixture
def made_dense(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of the dense arrays that are made of sparse matrices."""
    sizes: list[int] = []
    for cls in (sparse.csr_matrix, sparse.csr_array):
        toarray = cls.toarray

        def counting(self: Any, *args: Any, toarray: Any = toarray, **options: Any) -> np.ndarray:
            dense: np.ndarray = toarray(self, *args, **options)
            sizes.append(dense.size)
            return dense

        monkeypatch.setattr(cls, "toarray", counting)
    return sizes


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csr_array])
@pytest.mark.parametrize(("steps", "expected"), [(0.5, [5] * 4 + [3]), (2.5, [10, 10, 3]), (4, [20, 3])])
def test_a_chunk_at_a_time_is_made_dense(
    form: Any, steps: float, expected: list[int], made_dense: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(X).params.vector
    monkeypatch.setattr(step_chunks, "_UPLOADED_ELEMENTS", int(steps * 5 * N_IN))
    monkeypatch.setattr(outputs_module, "_CHUNK_ELEMENTS", 4 * N_IN)
    np.testing.assert_array_equal(fit(form(X)).params.vector, whole)
    assert made_dense == [n * N_IN for n in [*expected, 4, 4, 1]] * 3  # an epoch's samples, then those held out


def test_evaluation_of_sparse_inputs(backend: Backend, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    params = NETWORK.init(1, backend, dtype)
    dense, held = (to_samples(NETWORK, backend, dtype, x, Y) for x in (X, sparse.csc_matrix(X)))
    assert isinstance(held.x, InputRows)
    expected = evaluate(NETWORK, params, dense.x, dense.y, backend)
    for elements in (1 << 22, 5 * N_IN):
        monkeypatch.setattr(outputs_module, "_CHUNK_ELEMENTS", elements)
        assert evaluate(NETWORK, params, held.x, held.y, backend) == pytest.approx(expected, rel=1e-5)


def test_sparse_inputs_for_dense_held_out_ones_and_the_reverse() -> None:
    trainer, held_out = Trainer(NETWORK, epochs=2, batch_size=5), (X[:9], Y[:9])
    expected = trainer.fit(X, Y, validation=held_out).history[-1][:4]
    assert trainer.fit(sparse.csr_matrix(X), Y, validation=held_out).history[-1][:4] == expected
    assert trainer.fit(X, Y, validation=(sparse.coo_matrix(X[:9]), Y[:9])).history[-1][:4] == expected


def test_duplicate_entries_are_summed_and_counts_are_numbers() -> None:
    rows, columns = np.nonzero(X)
    twice = sparse.coo_matrix(
        (np.tile(X[rows, columns] / 2, 2), (np.tile(rows, 2), np.tile(columns, 2))), shape=X.shape
    )
    trainer = Trainer(NETWORK, epochs=1, batch_size=5)
    np.testing.assert_array_equal(trainer.fit(twice, Y).params.vector, trainer.fit(X, Y).params.vector)
    counts = (X > 0).astype(np.int8)
    from_counts = trainer.fit(sparse.csr_matrix(counts), Y)
    np.testing.assert_array_equal(from_counts.params.vector, trainer.fit(counts, Y).params.vector)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["training", "validation"])
def test_what_is_no_number_is_refused(form: str, value: float, part: str) -> None:
    bad = X.copy()
    bad[3, 1] = value
    x, held_out = (bad, X) if part == "training" else (X, bad)
    with pytest.raises(DataError, match=r"^x: expected finite numbers; received NaN or infinity"):
        Trainer(NETWORK, epochs=1, batch_size=5).fit(FORMATS[form](x), Y, validation=(FORMATS[form](held_out), Y))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            sparse.csr_matrix(X[:, :3]),
            InvalidParameterError,
            r"x: expected the shape \(n_samples, 7\); received \(23, 3",
        ),
        (sparse.coo_array(X[:, 0]), InvalidParameterError, r"received \(23,\)"),
        (sparse.csr_matrix(X[:20]), DataError, r"received the shapes \(20, 7\) and \(23,\)"),
        (sparse.csr_matrix(X[:0]), DataError, "at least one"),
    ],
    ids=["narrow", "flat", "fewer", "none"],
)
def test_sparse_inputs_that_do_not_fit(x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Trainer(NETWORK, epochs=1, batch_size=5).fit(x, Y)


def test_a_resumed_run_on_sparse_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_chunks, "_STEPS_PER_CHUNK", 2)
    x = sparse.csr_matrix(X)
    stopped = fit(x, callbacks=[StopAt(5)])
    assert (stopped.state.epoch, stopped.state.position) == (1, 4)
    np.testing.assert_array_equal(fit(x, state=stopped.state).params.vector, fit(X).params.vector)


def test_rows_of_a_sparse_matrix() -> None:
    rows = host_inputs(get_backend("cpu"), sparse.csc_matrix(X), "float32")
    assert rows.shape == X.shape
    parts = slice(2, 9), np.asarray([5, 1, 1])
    for part, found in zip(parts, rows.stored(parts), strict=True):
        np.testing.assert_array_equal(found, X[part].astype("float32"), strict=True)
