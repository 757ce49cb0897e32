"""Rows and cells: what is within quotes, against a parser that goes from byte to byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.data.tables.text_rows import BLANKS, find_quoted, normalize, row_bounds, split_cells, unquote


def quoted_by_hand(data: bytes, delimiter: str) -> tuple[list[int], bool]:
    """Go through a text with three states; return the places within quotes and whether it ends within quotes."""
    separators = b"\r\n" + (b" \t" if delimiter == BLANKS else delimiter.encode())
    within, state, i = [], "start", 0
    while i < len(data):
        char = data[i]
        if state == "quotes":
            if char != ord('"'):
                within.append(i)
            elif data[i + 1 : i + 2] == b'"':
                i += 1
            else:
                state = "cell"
        elif char in separators:
            state = "start"
        elif state == "start" and char == ord('"'):
            state = "quotes"
        elif not (state == "start" and char in b" \t"):
            state = "cell"
        i += 1
    return within, state == "quotes"


@settings(deadline=None, max_examples=400)
@given(st.text(st.sampled_from('ab,;\t "\r\n'), max_size=40), st.sampled_from([",", "\t", BLANKS]))
def test_what_is_within_quotes(text: str, delimiter: str) -> None:
    data = text.encode()
    found = find_quoted(data, delimiter)
    within = [i for i, char in enumerate(data) if char != ord('"') and found.end_around(i) is not None]
    assert (within, found.is_open) == quoted_by_hand(data, delimiter)


@pytest.mark.parametrize(
    ("text", "delimiter", "normal"),
    [
        ('a, "b, ""c"", d" ,e\n  "f",g\n', ",", 'a,"b, ""c"", d" ,e\n"f",g\n'),
        ('5" x, "y"\n', ",", '5" x,"y"\n'),
        ('a\t "b\t c"\n', "\t", 'a\t"b\t c"\n'),
        ('  a  "b  c" \t d  \r\n\r\n e\n', BLANKS, 'a\t"b  c"\td\r\n\r\ne\n'),
        ('a "b', ",", 'a "b'),
    ],
)
def test_blanks_before_quotes(text: str, delimiter: str, normal: str) -> None:
    assert normalize(text.encode(), delimiter).decode() == normal


def test_rows_end_outside_of_quotes() -> None:
    data = b'a,"b\nc"\r\n\n"d\r""e"\rf'
    assert [data[start:end] for start, end, _ in row_bounds(data, find_quoted(data, ","))] == [
        b'a,"b\nc"',
        b"",
        b'"d\r""e"',
        b"f",
    ]


@pytest.mark.parametrize(
    ("row", "delimiter", "cells"),
    [
        ("a,b,", ",", ["a", "b", ""]),
        ('"a,b" , "c""d",e"f', ",", ["a,b", 'c"d', 'e"f']),
        ('  a  "b c"  ', BLANKS, ["a", "b c"]),
        ('"a', ",", ["a"]),
        ('""', ",", [""]),
    ],
)
def test_cells_of_a_row(row: str, delimiter: str, cells: list[str]) -> None:
    assert [unquote(cell) for cell in split_cells(row, delimiter)] == cells
