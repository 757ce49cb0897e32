"""Arguments as users write them, before options are told apart: sizes of layers, a lone hyphen, what is read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

__all__ = ["join_hyphens", "join_sizes", "what_is_read"]

_OPTION = "--hidden"
_SIZES = re.compile(r"[0-9, ]+")
_HYPHEN = "-"
_MAY_BE_HYPHEN = ("--data", "--delimiter", "--missing")
# The commands that read data, and how many arguments come before these.
_READERS = {
    "train": 0,
    "tune": 0,
    "resume": 0,
    "predict": 1,
    "evaluate": 1,
    "report": 0,
    "show": 0,
    "inspect": 0,
    "parity": 0,
}
_SILENT = ("--quiet", "--json", "--help", "-h", "--version")


def join_sizes(tokens: Sequence[str]) -> list[str]:
    """Join the sizes after ``--hidden`` into one argument, so that ``--hidden 256 128`` means ``--hidden 256,128``.

    Examples
    --------
    >>> join_sizes(["train", "digits", "--hidden", "256,", "128", "--lr", "0.1"])
    ['train', 'digits', '--hidden', '256,128', '--lr', '0.1']
    """
    parts = [part for token in tokens for part in (token.split("=", 1) if token.startswith(f"{_OPTION}=") else [token])]
    if _OPTION not in parts:
        return parts
    start = parts.index(_OPTION) + 1
    sizes = list(itertools.takewhile(_SIZES.fullmatch, parts[start:]))
    if len(sizes) > 1:
        parts[start : start + len(sizes)] = [",".join(re.findall("[0-9]+", " ".join(sizes)))]
    return parts


def join_hyphens(tokens: Sequence[str]) -> list[str]:
    """Return arguments in which a lone hyphen is a value: that of the option before it, or else the data.

    The parser would take it for an option.

    Examples
    --------
    >>> join_hyphens(["train", "-", "--missing", "-"])
    ['train', '--data=-', '--missing=-']
    """
    joined: list[str] = []
    for token in tokens:
        if token != _HYPHEN:
            joined.append(token)
        elif joined and joined[-1] in _MAY_BE_HYPHEN:
            joined[-1] += f"={token}"
        else:
            joined.append(f"--data={token}")
    return joined


def what_is_read(tokens: Sequence[str]) -> str:
    """Return in words what a command is going to read; empty if it reads nothing, or is to be silent.

    Arguments after the first option are not looked at, because only the command knows which options take a value.

    Examples
    --------
    >>> what_is_read(["train", "house.csv", "--target", "price"])
    'house.csv'
    >>> what_is_read(["predict", "model.safetensors", "--data=-"])
    'the standard input'
    >>> what_is_read(["train", "--lr", "0.1", "digits"])
    'the data'
    """
    command, *arguments = tokens or [""]
    if command not in _READERS or not {*_SILENT}.isdisjoint(arguments):
        return ""
    named = [argument.removeprefix("--data=") for argument in arguments if argument.startswith("--data=")]
    given = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    name = next(iter(named or given[_READERS[command] :]), "")
    return "the standard input" if name == _HYPHEN else name or "the data"
