"""What is found in text without being told: the delimiter, the decimal sign, the header and the encoding."""

from __future__ import annotations

import pytest

from xpnet.data.tables.text_format import TableOptions, TextFormat, check_options, find_encoding, find_format
from xpnet.data.tables.text_rows import BLANKS, ONE_COLUMN
from xpnet.errors import DataError, InvalidParameterError


def found(text: str, **options: object) -> TextFormat:
    result = find_format(text.encode(), TableOptions(**options))  # type: ignore[arg-type]
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("text", "delimiter", "decimal"),
    [
        ("a,b\n1,2\n", ",", None),
        ("a;b\n1,5;2\n", ";", ","),
        ("a;b\n1.5;2\n", ";", "."),
        ("rooms;area;price\n1;30,5;100,5\n2;31,5;99,5\n", ";", ","),
        ("1;30,5;100,5\n2;31,5;99,5\n", ";", ","),
        ("a;b\n1.234,5;2\n3.456,5;2\n", ";", ","),
        ("a;b\n1,234;2\n3,456;2\n", ";", ","),
        ("a\tb\n1,234\t2\n3,456\t2\n", "\t", None),
        ("a\tb\n1,234.5\t2\n", "\t", "."),
        ("a\tb\nx, y\t3\nz, w\t4\n", "\t", None),
        ("a|b\n1|x; y\n", "|", None),
        ("x\n1,5\n2,5\n", ONE_COLUMN, ","),
        ("1\n2\n", ONE_COLUMN, None),
        ("review\nGood, cheap\nBad, dear\n", ONE_COLUMN, None),
        ("full name\nJohn Smith\nMary Jones\n", ONE_COLUMN, None),
        ("when\n2020-01-01 10:00\n", ONE_COLUMN, None),
        (" a  b\n 1  2.5\n 10 3.5\n", BLANKS, "."),
        ('18.0  8  307.0  12  70\t"chevrolet malibu"\n15.0  8  350.0  12  70\t"buick skylark"\n', BLANKS, "."),
        ("sep=;\na;b\n1;2\n", ";", None),
        ('a,b\n"1;2",3\n"4;5",6\n', ",", None),
    ],
)
def test_delimiters_and_decimal_signs(text: str, delimiter: str, decimal: str | None) -> None:
    assert (found(text).delimiter, found(text).decimal) == (delimiter, decimal)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b\n1,2\n", ("a", "b")),
        ("1,2\n3,4\n", None),
        ("1,nan\n3,4\n", None),
        ("name,city\nBob,Paris\nAnn,Rome\n", ("name", "city")),
        ("p,x,s\ne,x,y\np,b,s\n", None),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n4.9,3.0,virginica\n", None),
        ("2019,2020,kind\n1,2,a\n3,4,b\n3,4,a\n4,4,b\n", ("2019", "2020", "kind")),
        ("18,8,chevrolet malibu\n15,8,buick skylark\n", None),
        ("0,1,2,3\n1,2,3,1\n2,3,4,0\n", ("0", "1", "2", "3")),
        (",0,1\n0,1.5,2.5\n1,2.5,1.5\n", ("", "0", "1")),
        ("0,1\n1,0\n0,1\n", None),
        ("a,b\n", ("a", "b")),
        ("1,2\n", None),
        ("a\n1\n", ("a",)),
        ("when,n\n2020-01-01,2\n", ("when", "n")),
        ("2020-01-01,2\n2020-01-02,2\n", None),
        ("-,2\n1,2\n3,4\n", None),
        ("country,1960,1970,1980\nChad,1.5,2,3\nPeru,4,5,6\n", ("country", "1960", "1970", "1980")),
        ("country,1/22/20,1/23/20\nChad,1,2\nPeru,4,5\n", ("country", "1/22/20", "1/23/20")),
        ("2020-01,2020-02\n1,2\n4,5\n", ("2020-01", "2020-02")),
        ("Chad,1.5,2,3\nPeru,4,5,6\n", None),
    ],
)
def test_headers(text: str, names: tuple[str, ...] | None) -> None:
    result = found(text)
    assert result.has_header == (names is not None)
    assert result.names == (names or tuple(str(i + 1) for i in range(len(result.names))))
    assert result.start == (text.index("\n") + 1 if names else 0)


def test_names_decide_about_a_header_of_numbers() -> None:
    years = "2019,2020,2021\n1,2,3\n4,5,6\n"
    assert not found(years).has_header
    assert found(years, names=frozenset({"2021", "target"})).has_header
    assert found("0,1,2,3\n1,2,3,1\n", names=frozenset({"3"})).has_header
    with pytest.raises(DataError, match=r"may be either.* called 3; give --header or --no-header"):
        found("1,2,3\n3,4,1\n", names=frozenset({"3"}))
    assert not found("1,14.23,1.71\n2,13.2,1.78\n", names=frozenset({"1"})).has_header  # a header is of whole numbers
    model = frozenset(map(str, range(6)))
    assert found("5,0,1,2,4,3\n1,2,3,4,5,6\n", names=model).has_header
    assert not found("7,0,1.5,2,4.5,3.5\n1,2,3,4,5,6\n", names=model).has_header
    assert not found("5.1,1,setosa\n4.9,3,setosa\n", names=frozenset({"1"})).has_header
    assert not found("1,1,3\n3,4,1\n", names=frozenset({"3"})).has_header  # names do not repeat
    assert found("1,2,3\n3,4,1\n", names=frozenset({"3"}), header=True).names == ("1", "2", "3")
    assert found("a,b\n1,2\n", header=False).names == ("1", "2")


def test_rows_with_a_cell_more_than_the_header() -> None:
    row_names = found('"mpg" "cyl"\n"Mazda RX4" 21 6\n"Mazda RX4 Wag" 21 6\n')
    assert row_names.names == ("", "mpg", "cyl")
    assert found('"a","b"\n"r1",1,2\n"r2",1,2\n').names == ("", "a", "b")
    for text in ("a,b,\n1,2,\n3,4,\n", "a,b\n1,2,\n3,4,\n"):
        assert found(text).names == ("a", "b", "")
        assert found(text).ends_with_delimiter
    assert not found("a,b,\n1,2,\n3,4,x\n").ends_with_delimiter
    assert found("a,b\n1,2,3\n1,5,6\n").names == ("a", "b")  # not row names, as they repeat: uneven


def test_what_is_stated_is_not_searched_for() -> None:
    assert found("a;b\n1;2\n", delimiter=",").names == ("a;b",)
    assert found("a;b\n1,5;2\n", decimal=".").decimal == "."
    assert check_options(TableOptions(delimiter="tab")).delimiter == "\t"
    assert check_options(TableOptions(delimiter="\\t")).delimiter == "\t"
    for delimiter in ("", ",,", "a", "7", '"', "\n", "§"):
        with pytest.raises(InvalidParameterError, match="delimiter: expected one character"):
            check_options(TableOptions(delimiter=delimiter))
    with pytest.raises(InvalidParameterError, match="decimal: expected a point or a comma; received ';'"):
        check_options(TableOptions(decimal=";"))


@pytest.mark.parametrize("text", ["", "\n\r\n", "  \n\n"])
def test_blank_text_has_no_format(text: str) -> None:
    assert find_format(text.encode(), TableOptions()) is None


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        (("utf-8", 0), b"a,b\n"),
        (("utf-8", 3), b"\xef\xbb\xbfa,b\n"),
        (("utf-16-le", 2), "\ufeffa,b\n".encode("utf-16-le")),
        (("utf-16-be", 2), "\ufeffa,b\n".encode("utf-16-be")),
        (("utf-16-le", 0), "a,ж,c\n1,2,3\n".encode("utf-16-le")),
        (("utf-16-be", 0), "a,ж,c\n1,2,3\n".encode("utf-16-be")),
        (("utf-8", 0), b"a,\0,b\n"),
        (("utf-8", 0), b""),
    ],
)
def test_encodings(encoding: tuple[str, int], data: bytes) -> None:
    assert find_encoding(data) == encoding
