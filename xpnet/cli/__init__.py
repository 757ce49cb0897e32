"""The command line: ``xpnet COMMAND``. The options of a training run are in `options`, others beside their command."""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

import xpnet
from xpnet.cli.bench import app as bench_app
from xpnet.cli.config import fill_options, name_option
from xpnet.cli.console import say
from xpnet.cli.info import datasets, devices, gradcheck
from xpnet.cli.inspect import inspect
from xpnet.cli.parity import parity
from xpnet.cli.predict import evaluate, predict
from xpnet.cli.tokens import join_hyphens, join_sizes
from xpnet.cli.train import resume, train
from xpnet.errors import DivergenceError, InvalidParameterError, XpnetError, XpnetWarning
from xpnet.terminal import open_standard_streams

__all__ = ["app", "main"]

app = App(
    name="xpnet",
    help="Train multilayer perceptrons on NumPy, CuPy, PyTorch and JAX from one array-API source.",
    help_epilogue="--debug with any command shows the traceback of an error.",
    version=xpnet.__version__,
    config=fill_options,
    default_parameter=Parameter(negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
_COMMANDS: tuple[Callable[..., int], ...] = (
    train,
    resume,
    predict,
    evaluate,
    inspect,
    datasets,
    devices,
    gradcheck,
    parity,
)
for position, command in enumerate(_COMMANDS):
    app.command(command, sort_key=position)
bench_app.sort_key = len(_COMMANDS)
app.command(bench_app)

EXIT_BROKEN_PIPE, EXIT_BAD_INPUT, EXIT_DIVERGED = 1, 2, 3
EXIT_INTERRUPTED = 128 + signal.SIGINT  # by the shells' convention

_LONGEST_MESSAGE = 1500


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. An error is one line on stderr; ``--debug`` adds its traceback."""
    open_standard_streams()
    tokens = join_hyphens(join_sizes(sys.argv[1:] if arguments is None else arguments))
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", XpnetWarning)
            warnings.showwarning = _show_warning
            code = app(tokens, exit_on_error=False, print_error=False) or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError as exc:  # the reader of the output has closed it (`| head`)
        say(f"cannot write to the standard output: {exc.strerror}.")
        return EXIT_BROKEN_PIPE
    except (XpnetError, CycloptsError, OSError, MemoryError, UnicodeError, ImportError) as exc:
        if debug:
            Console(stderr=True).print_exception()
        say(_one_line(exc))
        return EXIT_DIVERGED if isinstance(exc, DivergenceError) else EXIT_BAD_INPUT
    finally:
        for file in (sys.stdout, sys.stderr):
            _flush(file)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, XpnetWarning):
        say(_one_line(str(message)))
    else:
        with suppress(OSError):
            sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def _flush(file: TextIO) -> None:
    """Flush a file, or send it to the null device if that fails: the interpreter would try again at its end."""
    try:
        file.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _one_line(exc: BaseException | str) -> str:
    """Return the message of an error as one printable line of limited length."""
    message = str(exc)
    if isinstance(exc, InvalidParameterError):
        message = name_option(message)
    elif isinstance(exc, OSError):
        message = ": ".join(str(part) for part in (exc.filename, exc.strerror) if part) or message
    elif isinstance(exc, ImportError) and not isinstance(exc, XpnetError):  # also for lack of memory
        message = f"cannot load a library: {message}. Check its installation and the free memory."
    elif isinstance(exc, MemoryError) and not isinstance(exc, XpnetError):
        message = f"out of memory: {message or 'the system has no more'}. Use fewer samples or a smaller network."
    message = re.sub(r"\s*\n\s*", " ", message.strip())
    message = "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
    if len(message) > _LONGEST_MESSAGE:  # keep what was expected, at the start, and the advice, at the end
        message = f"{message[: _LONGEST_MESSAGE - 300]} ... {message[-300:]}"
    return message
