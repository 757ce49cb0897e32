"""Options are refused before the data are read, which may take minutes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xpnet.backend import Backend
from xpnet.cli.choices import make_network, make_trainer
from xpnet.cli.options import TrainOptions
from xpnet.data.scaling import fit_scaler
from xpnet.data.split import part_sizes
from xpnet.data.targets import Task
from xpnet.errors import InvalidParameterError
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.recipes import Recipe

__all__ = ["check_options"]

# The data that are not known yet: nothing is refused that is possible with some data.
_CLASSES, _N_OUTPUTS, _N_SAMPLES = np.arange(3), 2, 1_000_000_000


def check_options(options: TrainOptions, backend: Backend, recipes: Mapping[Task, Recipe]) -> None:
    """Make what the options describe for data of each possible task, as later for the data themselves.

    Raises
    ------
    InvalidParameterError
        No task can be trained with these options.
    """
    # Each by itself: data with a test part of their own need no fraction for it.
    part_sizes(_N_SAMPLES, options.val_fraction, 0.0)
    part_sizes(_N_SAMPLES, 0.0, options.test_fraction)
    if options.scale is not None:
        fit_scaler(options.scale, np.zeros((1, 1)))
    Checkpoint("", options.checkpoint_every or 1, options.keep)
    if options.cv is not None and options.cv < 2:
        raise InvalidParameterError(f"cv: expected at least 2 folds; received {options.cv}.")
    if options.cv is not None and options.ensemble > 1:
        raise InvalidParameterError(f"cv: expected none with an ensemble; received {options.cv}. Leave one out.")
    errors = []
    tasks: list[Task] = [*recipes] if options.task is None else [options.task]
    for task in tasks:
        classes = _CLASSES if task == "classification" else None
        try:
            network = make_network(options, recipes[task], task, 1, classes, _N_OUTPUTS)
            make_trainer(
                network, backend, options, recipes[task], task, _N_SAMPLES, validation=options.val_fraction > 0
            )
        except InvalidParameterError as exc:
            errors.append(exc)
        else:
            return
    raise errors[0]
