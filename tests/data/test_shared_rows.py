"""Tests of features of which each rank holds a part."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.thread_ranks import run_ranks
from xpnet.communicator import agreed, in_turn, share_of
from xpnet.data.row_sample import RowSample
from xpnet.data.scaling import Moments, fit_scaler
from xpnet.data.shared_rows import SharedRows, check_shared, fit_shared_scaler, take_rows, warn_of_merged_rows
from xpnet.errors import DataError, XpnetWarning

X = np.random.default_rng(0).normal(size=(23, 3))
SIZES = (1, 2, 3, 4)


def shared(comm, x=X):
    return SharedRows(x[share_of(len(x), comm.rank, comm.size)], comm)


@pytest.mark.parametrize("size", SIZES)
def test_each_rank_gets_the_rows_that_it_asks_for_in_its_order(size):
    wanted = [np.array([22, 0, 7, 7, 3]), np.empty(0, np.int64), np.arange(23)[::-1].astype(np.int32), slice(5, 12)]

    def rows(comm):
        taken = shared(comm)[wanted[comm.rank]]
        assert taken.flags.c_contiguous
        return taken

    for rank, taken in enumerate(run_ranks(size, rows)):
        np.testing.assert_array_equal(taken, X[wanted[rank]])


def test_ranks_may_hold_unequal_parts_or_none():
    cuts = [0, 0, 20, 20, 23]

    def rows(comm):
        x = SharedRows(X[cuts[comm.rank] : cuts[comm.rank + 1]], comm)
        assert (x.shape, x.dtype, len(x)) == (X.shape, X.dtype, 23)
        assert x.positions == slice(cuts[comm.rank], cuts[comm.rank + 1])
        return x[np.array([21, 1, 19, comm.rank])]

    for rank, taken in enumerate(run_ranks(4, rows)):
        np.testing.assert_array_equal(taken, X[[21, 1, 19, rank]])


@pytest.mark.parametrize("size", SIZES)
def test_a_part_and_what_a_function_makes_of_it(size):
    chosen = np.array([0, 1, 4, 9, 10, 11, 21])

    def rows(comm):
        part = take_rows(shared(comm), chosen)
        assert np.shares_memory(part.own, X) == (len(part.own) == len(shared(comm).own))
        doubled = part.map(lambda own: 2 * own)
        np.testing.assert_array_equal(doubled.own, 2 * X[chosen][part.positions])
        return doubled[np.array([6, 0])]

    for taken in run_ranks(size, rows):
        np.testing.assert_array_equal(taken, 2 * X[[21, 0]])


def test_a_part_of_all_rows_is_not_copied():
    assert all(run_ranks(2, lambda comm: np.shares_memory(shared(comm).part(np.arange(23)).own, X)))


def test_an_error_of_one_rank_is_raised_on_all():
    def fails(comm):
        def function():
            if comm.rank:
                raise DataError(f"on rank {comm.rank}")

        with pytest.raises(DataError, match=r"^on rank 1$"):
            agreed(comm, function)
        with pytest.raises(DataError, match=r"^on rank 1$"):
            in_turn(comm, [], lambda _: function())
        with pytest.raises(DataError, match=r"^at the end$"):
            in_turn(comm, [], lambda _: None, lambda _: (_ for _ in ()).throw(DataError("at the end")))
        return comm.gather(comm.rank)  # they still go together

    assert run_ranks(3, fails) == [[0, 1, 2]] * 3


@pytest.mark.parametrize("size", SIZES)
def test_a_statistic_of_all_rows_is_that_of_a_single_process(size):
    whole = RowSample(8, np.concatenate)
    whole.add(X)

    def sample(comm):
        own = shared(comm).own
        return in_turn(comm, RowSample(8, np.concatenate), lambda s: s.add(own), lambda s: s.rows())

    for rows in run_ranks(size, sample):
        np.testing.assert_array_equal(rows, whole.rows())


def test_a_single_process_takes_no_turns():
    moments = in_turn(None, Moments(3), lambda m: m.add(X))
    np.testing.assert_array_equal(moments.mean, fit_scaler("standard", X).shift)
    assert agreed(None, lambda: 5) == 5


@pytest.mark.parametrize("spec", ["none", "standard", "minmax", "robust", "divide:16"])
def test_the_scaling_is_that_of_a_single_process(spec):
    expected = fit_scaler(spec, X)
    for scaler in run_ranks(4, lambda comm: fit_shared_scaler(spec, shared(comm))):
        assert scaler.kind == expected.kind
        np.testing.assert_allclose(scaler.shift, expected.shift, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(scaler.scale, expected.scale, rtol=1e-13)


def test_a_value_that_is_not_finite_is_named_by_its_row_on_all_ranks():
    x = X.copy()
    x[17, 1] = np.nan

    def check(comm):
        with pytest.raises(DataError, match="received nan in column 2, row 18"):
            check_shared(shared(comm, x), np.zeros(23))
        with pytest.raises(DataError, match="23 rows, 3 targets"):
            check_shared(shared(comm), np.zeros(3))
        return True

    assert all(run_ranks(3, check))


def test_columns_that_become_one_number_are_found_over_all_ranks():
    x = np.ones((6, 2))
    x[:, 1] = 1 + 1e-12 * np.arange(6)
    merged, apart = x.astype(np.float32), np.arange(12, dtype=np.float32).reshape(6, 2)

    def warn(comm):
        warn_of_merged_rows(shared(comm, x), shared(comm, apart), "features")
        warn_of_merged_rows(shared(comm, x), shared(comm, merged), "features")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_ranks(4, warn)
    assert {(each.category, str(each.message)[:38]) for each in caught} == {
        (XpnetWarning, "features: the values of column 2, 1.0 ")
    }
