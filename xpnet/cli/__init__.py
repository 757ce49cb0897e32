"""The command line: ``xpnet COMMAND``. The options of a training run are in `options`, others beside their command."""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TextIO

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter

import xpnet
from xpnet.cli.console import HELP_EPILOGUE, say
from xpnet.cli.process import own_process
from xpnet.cli.tokens import join_hyphens, join_sizes, what_is_read
from xpnet.errors import (
    DivergenceError,
    InvalidParameterError,
    RankError,
    UnknownValuesWarning,
    XpnetError,
    XpnetWarning,
    printable,
)
from xpnet.launchers import is_launched
from xpnet.terminal import can_redraw, open_standard_streams

__all__ = ["app", "main"]


def _fill_options(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    if any(arguments.get(option, default=None) is not None for option in ("--config", "--preset")):
        from xpnet.cli.config import fill_options  # which knows the options of training

        fill_options(app, commands, arguments)


app = App(
    name="xpnet",
    help="Train multilayer perceptrons on NumPy, CuPy, PyTorch and JAX from one array-API source.",
    help_epilogue=HELP_EPILOGUE,
    version=xpnet.__version__,
    config=_fill_options,
    default_parameter=Parameter(negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
# The module of each command, and the description of its docstring. A command is imported when it is called.
_COMMANDS = {
    "train": ("train:train", "Train a network, and write model, metrics, configuration and plots into a folder."),
    "tune": (
        "tune:tune",
        "Search for the options that suit the data, and train with the best of them as `xpnet train` does.\n\n"
        "The options that are given stay as they are. The first trial has the defaults for the others, and each "
        "further trial draws them at random. Trials are compared on the validation part, or with --cv on the mean over "
        "the folds; the test part is used once, by the last training.",
    ),
    "resume": (
        "train:resume",
        "Continue a run that was killed or interrupted from its newest checkpoint, as if it had never stopped.",
    ),
    "predict": (
        "predict:predict",
        "Predict with a trained model, and write a CSV file with one row for each sample.",
    ),
    "evaluate": (
        "evaluate:evaluate",
        "Evaluate a trained model on each part of its run, or on other data.",
    ),
    "info": ("model_info:info", "Show what a model is, and how its run went: features, layers, scores, files."),
    "runs": (
        "runs:runs",
        "Compare runs: scores, epochs, seconds, and the options in which they differ, best first.",
    ),
    "report": (
        "report:report",
        "Make the report of a run again, or that of other data: one HTML page with scores and pictures.",
    ),
    "export": (
        "export:export",
        "Export a trained model for other programs: an ONNX graph, the state dict of plain layers, or a model card.",
    ),
    "show": (
        "show:show",
        "Draw what the network of a run learned and how: the pictures that suit its data.\n\n"
        "They are the decision regions of data with two features, beside those of a linear model; for images, the "
        "weights of the hidden units and the samples that excite them most; the way of a sample through the network, "
        "forward and backward; and what equal initial weights do.",
    ),
    "inspect": (
        "inspect:inspect",
        "Show what the columns of a table are, what training will do with each, and why.",
    ),
    "datasets": ("listings:datasets", "List the named data sets: size, source, licence."),
    "devices": (
        "listings:devices",
        "List each backend and device: usable, or exactly why not; and what a CPU does with subnormal numbers.",
    ),
    "gradcheck": (
        "listings:gradcheck",
        "Check the gradient of every activation with every loss against central differences in float64.",
    ),
    "parity": (
        "parity:parity",
        "Train the same run on each device, and show how much each result differs from the first device's.\n\n"
        "The command trains one run of several epochs, and small runs that cover every activation, loss and "
        "optimizer, and dropout. All of them are trained in float64 and in float32. The exit code is 1 if a "
        "difference exceeds its tolerance.",
    ),
    "bench": (
        "bench:app",
        "Compare the speed of training on devices and with peers, which are other libraries.",
    ),
}
for position, (name, (place, description)) in enumerate(_COMMANDS.items()):
    app.command(f"xpnet.cli.{place}", name=name, help=description, sort_key=position)

EXIT_BROKEN_PIPE, EXIT_BAD_INPUT, EXIT_DIVERGED = 1, 2, 3
EXIT_INTERRUPTED = 128 + signal.SIGINT  # by the shells' convention

_LONGEST_MESSAGE = 1500


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. An error is one line on stderr; ``--debug`` adds its traceback.

    Parameters
    ----------
    arguments : sequence of str or None
        None takes those of the process, which is then the command's own.
    """
    open_standard_streams()
    if arguments is None:
        own_process()
    tokens = join_hyphens(join_sizes(sys.argv[1:] if arguments is None else arguments))
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    if can_redraw(sys.stderr) and not is_launched() and (what := what_is_read(tokens)):
        say(_one_line(f"reading {what}"))  # before anything slow is imported
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", XpnetWarning)
            warnings.simplefilter("ignore", UnknownValuesWarning)  # new data only: `show_unknown_values`
            warnings.showwarning = _show_warning
            code = app(tokens, exit_on_error=False, print_error=False) or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _fail(tokens, EXIT_INTERRUPTED, lambda rank: None)
    except BrokenPipeError as exc:  # the reader of the output has closed it (`| head`)
        line = f"cannot write to the standard output: {exc.strerror}."
        return _fail(tokens, EXIT_BROKEN_PIPE, lambda rank: say(rank + line))
    except RankError:
        return _fail(tokens, EXIT_BAD_INPUT, lambda rank: None, is_own=False)
    except (XpnetError, CycloptsError, OSError, MemoryError, UnicodeError, ImportError) as exc:
        code = EXIT_DIVERGED if isinstance(exc, DivergenceError) else EXIT_BAD_INPUT
        return _fail(tokens, code, partial(_show_error, exc, debug))
    finally:
        for file in (sys.stdout, sys.stderr):
            _flush(file)


def _show_error(exc: BaseException, debug: bool, rank: str) -> None:
    if debug:
        from rich.console import Console

        Console(stderr=True).print_exception()
    say(rank + _one_line(exc))


def _fail(tokens: Sequence[str], code: int, show: Callable[[str], None], *, is_own: bool = True) -> int:
    """Show an error and return the exit code; of the processes that a launcher started together, one shows it."""
    is_alone = re.search(r"--distributed[ =]off\b", " ".join(tokens)) is not None
    if is_alone or not is_launched():
        show("")
        return code
    from xpnet.cli.ranks import fail_together

    return fail_together(show, code, is_own=is_own)


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
    else:  # of a library: some add a traceback
        first, _, _ = str(message).strip().partition("\n")
        say(_one_line(f"{category.__name__}: {first}"))


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
        from xpnet.cli.config import name_option

        message = name_option(message)
    elif isinstance(exc, CycloptsError):
        from xpnet.cli.usage import usage_message

        message = usage_message(exc)
    elif isinstance(exc, OSError):
        message = ": ".join(str(part) for part in (exc.filename, exc.strerror) if part) or message
    elif isinstance(exc, ImportError) and not isinstance(exc, XpnetError):  # also for lack of memory
        message = f"cannot load a library: {message}. Check its installation and the free memory."
    elif isinstance(exc, MemoryError) and not isinstance(exc, XpnetError):
        message = f"out of memory: {message or 'the system has no more'}. Use fewer samples or a smaller network."
    message = re.sub(r"\s*\n\s*", " ", message.strip())
    message = printable(message)
    if len(message) > _LONGEST_MESSAGE:  # keep what was expected, at the start, and the advice, at the end
        message = f"{message[: _LONGEST_MESSAGE - 300]} ... {message[-300:]}"
    return message
