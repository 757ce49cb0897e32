"""The command line: ``xpnet COMMAND``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

import xpnet
from xpnet.cli.options import fill_options
from xpnet.errors import DivergenceError, XpnetError

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
app.command("xpnet.cli.train:train")
app.command("xpnet.cli.predict:predict")
app.command("xpnet.cli.predict:evaluate")
app.command("xpnet.cli.info:gradcheck")
app.command("xpnet.cli.info:devices")
app.command("xpnet.cli.info:datasets")

EXIT_BAD_INPUT, EXIT_DIVERGED, EXIT_INTERRUPTED = 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error is one line on stderr, with its traceback on ``--debug``."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    try:
        return app(tokens, exit_on_error=False, print_error=False) or 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (XpnetError, CycloptsError) as exc:
        if debug:
            Console(stderr=True).print_exception()
        message = " ".join(str(exc).split())
        print(f"xpnet: {message}", file=sys.stderr)
        return EXIT_DIVERGED if isinstance(exc, DivergenceError) else EXIT_BAD_INPUT
