"""Errors in how a command was called: what was received, what is expected, and the option that was probably meant."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable
from typing import Any, get_args, get_origin

from cyclopts import CycloptsError, UnknownOptionError, UnusedCliTokensError

__all__ = ["SYNONYMS", "suggest", "usage_message"]

# What others call an option, to what is written here.
SYNONYMS: dict[str, str] = {
    **dict.fromkeys(("--learning-rate", "--learning-rate-init", "--eta"), "--lr"),
    **dict.fromkeys(("--weight-decay", "--alpha", "--l2-penalty"), "--l2"),
    **dict.fromkeys(("--max-iter", "--max-epochs", "--n-epochs", "--num-epochs", "--iterations"), "--epochs"),
    **dict.fromkeys(("--hidden-layer-sizes", "--hidden-layers", "--hidden-sizes", "--layers", "--units"), "--hidden"),
    **dict.fromkeys(("--solver", "--opt"), "--optimizer"),
    **dict.fromkeys(("--random-state", "--random-seed"), "--seed"),
    **dict.fromkeys(("--output-dir", "--out-dir", "--output-file", "--save", "--save-dir"), "--out"),
    **dict.fromkeys(("--gpu", "--cuda"), "--device gpu"),
    "--cpu": "--device cpu",
    **dict.fromkeys(("--criterion", "--objective", "--loss-function"), "--loss"),
    **dict.fromkeys(("--scheduler", "--lr-schedule", "--lr-scheduler"), "--schedule"),
    **dict.fromkeys(("--initializer", "--weight-init", "--kernel-initializer"), "--init"),
    **dict.fromkeys(("--label", "--label-column", "--target-column", "--target-name", "--y"), "--target"),
    "--batch": "--batch-size",
    **dict.fromkeys(("--validation-fraction", "--validation-split", "--val-size", "--val-split"), "--val-fraction"),
    **dict.fromkeys(("--test-size", "--test-split"), "--test-fraction"),
    **dict.fromkeys(("--patience", "--n-iter-no-change"), "--early-stopping patience=NUMBER"),
    **dict.fromkeys(("--grad-clip", "--gradient-clip", "--max-norm"), "--clip-norm"),
    **dict.fromkeys(("--normalize", "--standardize", "--scaler", "--scaling"), "--scale"),
    **dict.fromkeys(("--n-jobs", "--num-threads", "--n-threads"), "--threads"),
    **dict.fromkeys(("--folds", "--n-folds", "--n-splits", "--cross-validation"), "--cv"),
    **dict.fromkeys(("--n-trials", "--max-trials"), "--trials"),
    **dict.fromkeys(("--proba", "--predict-proba"), "--probabilities"),
    **dict.fromkeys(("--silent", "--no-progress"), "--quiet"),
}
_CLOSE = 0.75  # of names without their hyphens, which would make any two alike


def usage_message(exc: CycloptsError) -> str:
    """Return the message of an error in how a command was called."""
    if isinstance(exc, UnknownOptionError) and exc.token.source == "cli":
        return _unknown_option(exc)
    if isinstance(exc, UnusedCliTokensError):
        return _unused(exc)
    return str(exc)


def suggest(option: str, known: Iterable[str]) -> str:
    """Return the option that is meant by an unknown one, with its value if that is known; empty if there is none.

    Examples
    --------
    >>> suggest("--weight_decay", ["--l2", "--weight"])
    '--l2'
    >>> suggest("--sheed", ["--seed"])
    '--seed'
    >>> suggest("--solver", ["--weight"])
    ''
    """
    names = {name.removeprefix("--"): name for name in known if name.startswith("--")}
    hints = {other.removeprefix("--"): hint for other, hint in SYNONYMS.items() if hint.split()[0][2:] in names} | names
    near = difflib.get_close_matches(option.lstrip("-").lower().replace("_", "-"), hints, n=1, cutoff=_CLOSE)
    return hints[near[0]] if near else ""


def _unknown_option(exc: UnknownOptionError) -> str:
    received = exc.token.keyword or exc.token.value
    meant = suggest(received, (name for argument in exc.argument_collection for name in argument.names))
    hint = f" Did you mean {meant}?" if meant else ""
    return f"unknown option: expected one that `{_command(exc)} --help` lists; received {received}.{hint}"


def _unused(exc: UnusedCliTokensError) -> str:
    """Return what is wrong with an argument that nothing takes: a further value of an option, or one too many."""
    unused, tokens = (exc.unused_tokens or [""])[0], [*(exc.root_input_tokens or [])]
    arguments = exc.app.assemble_argument_collection() if exc.app else []
    position = len(tokens) - 1 - tokens[::-1].index(unused) if unused in tokens else 0
    option, _, value = tokens[position - 1].partition("=")
    if not value and position > 1:
        option, value = tokens[position - 2 : position]
    for argument in arguments:
        if option in argument.names and option.startswith("--") and argument.token_count()[0] == 1:
            repeated = f"Repeat the option for each: {option} {value} {option} {unused}."
            advice = repeated if _is_repeatable(argument.hint) else "Leave out one of them."
            return f"too many values: expected one after {option}; received {value!r} and {unused!r}. {advice}"
    takes = " ".join(argument.name.removeprefix("--").upper() for argument in arguments if argument.index is not None)
    advice = f"`{_command(exc)} --help` lists the options."
    if any("--target" in argument.names for argument in arguments):
        advice = f"If it is the column to predict, write --target {shlex.quote(unused)}."
    return f"too many arguments: expected {takes or 'none'} besides options; received {unused!r} too. {advice}"


def _is_repeatable(hint: Any) -> bool:
    return any(get_origin(each) is tuple for each in (hint, *get_args(hint)))


def _command(exc: CycloptsError) -> str:
    return " ".join(["xpnet", *(exc.command_chain or ())])
