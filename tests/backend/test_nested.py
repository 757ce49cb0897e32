"""The walk over nested tuples of arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import arrays_in, map_arrays


class Pair(NamedTuple):
    first: Any
    second: Any


def test_a_function_of_every_leaf_in_tuples_of_the_same_types() -> None:
    nested = Pair(np.ones(2), (Pair(1, ()), (np.zeros(1), 2)))
    mapped = map_arrays(lambda leaf: leaf + 1, nested)
    assert type(mapped) is Pair
    assert type(mapped.second) is tuple
    assert type(mapped.second[0]) is Pair
    assert [np.asarray(leaf).tolist() for leaf in arrays_in(mapped)] == [[2, 2], 2, [1], 3]
    assert mapped.second[0].second == ()
    np.testing.assert_array_equal(nested.first, [1, 1])  # the original is untouched


def test_what_is_no_tuple_is_a_leaf() -> None:
    assert map_arrays(str, [1, 2]) == "[1, 2]"
    assert map_arrays(str, None) == "None"
    assert arrays_in([1, 2]) == [[1, 2]]
    assert arrays_in(None) == [None]


def test_leaves_come_in_order() -> None:
    assert arrays_in((1, Pair(2, (3, ())), (), (((4,),), 5))) == [1, 2, 3, 4, 5]
    assert arrays_in(()) == []


def test_nested_tuples_are_walked_in_order() -> None:
    tree = (1, (2, (3,), ()))
    assert arrays_in(tree) == [1, 2, 3]
    assert map_arrays(lambda each: each + 1, tree) == (2, (3, (4,), ()))
