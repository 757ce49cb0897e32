"""The command line: ``xpnet COMMAND``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

import xpnet
from xpnet.callbacks import Interrupt
from xpnet.cli.bench import app as bench_app
from xpnet.cli.info import datasets, devices, gradcheck
from xpnet.cli.options import fill_options, name_option
from xpnet.cli.predict import evaluate, predict
from xpnet.cli.train import train
from xpnet.errors import DivergenceError, InvalidParameterError, XpnetError

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
_COMMANDS: tuple[Callable[..., int], ...] = (train, predict, evaluate, datasets, devices, gradcheck)
for place, command in enumerate(_COMMANDS):
    app.command(command, sort_key=place)
bench_app.sort_key = len(_COMMANDS)
app.command(bench_app)

EXIT_BROKEN_PIPE, EXIT_BAD_INPUT, EXIT_DIVERGED = 1, 2, 3

_LONGEST_MESSAGE = 1500


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error is one line on stderr, with its traceback on ``--debug``."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    try:
        code = app(tokens, exit_on_error=False, print_error=False) or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return Interrupt.exit_code
    except BrokenPipeError:  # whoever read our output has gone (`| head`)
        _settle_stdout()
        return EXIT_BROKEN_PIPE
    except (XpnetError, CycloptsError, OSError, MemoryError, UnicodeError) as exc:
        if debug:
            Console(stderr=True).print_exception()
        print(f"xpnet: {_one_line(exc)}", file=sys.stderr)
        _settle_stdout()
        return EXIT_DIVERGED if isinstance(exc, DivergenceError) else EXIT_BAD_INPUT


def _settle_stdout() -> None:
    """Write what is left, or drop what cannot be written: the interpreter would try again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(exc: BaseException) -> str:
    """Return the message as one printable line of moderate length, whatever the values in it."""
    message = str(exc)
    if isinstance(exc, InvalidParameterError):
        message = name_option(message)
    elif isinstance(exc, OSError):
        message = ": ".join(str(part) for part in (exc.filename, exc.strerror) if part) or message
    elif isinstance(exc, MemoryError) and not isinstance(exc, XpnetError):
        message = f"out of memory: {message or 'the system has no more'}. Use fewer samples or a smaller network."
    message = re.sub(r"\s*\n\s*", " ", message.strip())
    message = "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
    if len(message) > _LONGEST_MESSAGE:  # what was expected stands in front, what to do at the end
        message = f"{message[: _LONGEST_MESSAGE - 300]} ... {message[-300:]}"
    return message
