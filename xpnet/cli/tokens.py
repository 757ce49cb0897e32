"""Arguments as users write them, before options are told apart: sizes of hidden layers, and a lone hyphen."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

__all__ = ["join_hyphens", "join_sizes"]

_OPTION = "--hidden"
_SIZES = re.compile(r"[0-9, ]+")
_HYPHEN = "-"
_MAY_BE_HYPHEN = ("--data", "--delimiter", "--missing")


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
