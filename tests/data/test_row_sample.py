"""A sample of rows that arrive in blocks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.data.row_sample import RowSample, sample_limit


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 20), min_size=1), limit=st.integers(1, 30))
def test_the_sample_is_every_kth_row_however_rows_are_cut(sizes, limit):
    n = sum(sizes)
    edges = np.cumsum([0, *sizes])
    step = 1
    while -(-n // step) > limit:
        step *= 2
    arrays, tables = RowSample(limit, np.concatenate), RowSample(limit, pa.concat_tables)
    for start, size in zip(edges, sizes, strict=False):
        block = np.arange(start, start + size)
        arrays.add(block)
        tables.add(pa.table({"row": block}))
        if arrays.n:
            assert len(arrays.rows()) <= limit
    assert arrays.rows().tolist() == list(range(0, n, step))
    assert tables.rows()["row"].to_pylist() == list(range(0, n, step))


def test_a_sample_does_not_keep_the_blocks_in_memory():
    sample = RowSample(4, np.concatenate)
    for start in range(0, 1000, 100):
        sample.add(np.arange(start, start + 100))
    base = sample.rows().base
    assert base is None or base.size <= 8


def test_wide_tables_are_sampled_less():
    assert sample_limit(1) == sample_limit(256) == 1 << 17
    assert sample_limit(1024) == 1 << 15
    assert sample_limit(10**6) == 1 << 10
