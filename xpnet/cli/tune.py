"""``xpnet tune``: a random search over options of ``xpnet train``, and the run with the best of them."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from xpnet.cli import job as jobs
from xpnet.cli.console import say
from xpnet.cli.cross_validation import cross_validation_file
from xpnet.cli.folder import choose_folder
from xpnet.cli.job import Job, make_job, prepare
from xpnet.cli.options import TrainOptions
from xpnet.cli.ranks import ranks
from xpnet.cli.run import SIGNALS
from xpnet.cli.run_files import CROSS_VALIDATION, TRIALS
from xpnet.cli.table_options import parse_int
from xpnet.cli.train import files_of, say_notes, say_rare_classes
from xpnet.cli.trials import best_of, criterion, search, trials_file
from xpnet.errors import InvalidParameterError
from xpnet.threads import limit_threads
from xpnet.training.callbacks import Interrupt

__all__ = ["tune"]

_DEFAULTS = TrainOptions()
_SECONDS = {"s": 1, "min": 60, "h": 3600}


def _parse_time(_: Any, tokens: Sequence[Token]) -> float:
    text = tokens[0].value
    match = re.fullmatch(rf"(\d{{1,9}}(?:\.\d+)?) ?({'|'.join(_SECONDS)})", text)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"expected a time such as 90s, 10min or 2h; received {text!r}.")
    return float(match[1]) * _SECONDS[match[2]]


def tune(
    data: str = "digits",
    *,
    trials: Annotated[int, Parameter(help="number of trainings to compare", converter=parse_int)] = 20,
    time_limit: Annotated[
        float,
        Parameter(
            help="start no other trial after this time: 90s, 10min or 2h [default: none]",
            converter=_parse_time,
            show_default=False,
        ),
    ] = math.inf,
    options: TrainOptions = _DEFAULTS,
) -> int:
    """Search for the options that suit the data, and train with the best of them as `xpnet train` does.

    The options that are given stay as they are. The first trial has the defaults for the others, and each further trial
    draws them at random. Trials are compared on the validation part, or with --cv on the mean over the folds; the test
    part is used once, by the last training.

    Parameters
    ----------
    data : str
        As for `xpnet train`, but read into memory.
    """
    if trials < 1:
        raise InvalidParameterError(f"--trials: expected at least 1; received {trials}.")
    with ranks(options.distributed) as communicator, limit_threads(options.threads):
        if communicator is not None:
            raise InvalidParameterError(
                f"xpnet tune: expected one process; received {communicator.size} ranks. Tune in one, or with "
                "--distributed off; then train with mpirun."
            )
        job = prepare(data, options)
        _check(job, options)
        say_notes(job, options)
        say_rare_classes(job)
        with choose_folder(options.out, job.data.name, options.ensemble) as folder:
            interrupt = Interrupt(*SIGNALS)
            done = search(data, job, options, trials, interrupt, time_limit)
            if not done:
                return interrupt.exit_code
            best = best_of(done, criterion(job))
            winner = make_job(data, job.data, job.backend, job.preset, best.options)
            if interrupt.received not in (None, signal.SIGINT):  # there is no time for another training
                say(f"trial {best.number} of {len(done)} is the best so far. To train with it: {winner.command}")
                return interrupt.exit_code
            files = {**files_of(data, winner, best.options), TRIALS: trials_file(done, options)}
            if best.folds:
                files[CROSS_VALIDATION] = cross_validation_file(best.folds)
            folder.files = files
            code = jobs.train(winner, best.options, folder)
    if not options.quiet:
        say(f"trial {best.number} of {len(done)} was the best. To repeat its run: {winner.command}")
    return code


def _check(job: Job, options: TrainOptions) -> None:
    """Check that trials can be compared."""
    if not job.is_in_memory:
        raise InvalidParameterError(
            "xpnet tune: expected data that fit into memory; received data that are read in pieces. Tune on a file "
            "with fewer rows, and train on all of them with the options that it finds."
        )
    if options.cv is None and "validation" not in job.parts:
        raise InvalidParameterError(
            f"validation_fraction: expected more than 0, to compare trials; received {options.val_fraction}. Or "
            "compare them with --cv 5."
        )
