"""``xpnet show``: the pictures that teach how a network learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from cyclopts import Parameter

from xpnet.backend import namespace_of, to_host
from xpnet.cli.config import read_config
from xpnet.cli.console import say
from xpnet.cli.finished_run import open_finished_run
from xpnet.cli.folder import CONFIG, RunFolder
from xpnet.cli.job import prepare
from xpnet.cli.latest_run import run_folder
from xpnet.cli.run_files import FILM, write_own
from xpnet.cli.table_options import ReadingOptions, parse_int
from xpnet.errors import InvalidParameterError
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.report.finished_run import FinishedRun
from xpnet.threads import limit_threads

if TYPE_CHECKING:
    from xpnet.plot.films import Frame

__all__ = ["show"]

_READING = ReadingOptions()
_SYMMETRIC_UNITS = 8
_FILMED_UNITS = 25  # weights of images compress badly


def show(
    run: Path,
    data: str | None = None,
    *,
    film: bool = False,
    sample: Annotated[int | None, Parameter(converter=parse_int)] = None,
    layer: Annotated[int, Parameter(converter=parse_int)] = 1,
    out: Path | None = None,
    threads: Annotated[int | None, Parameter(converter=parse_int)] = None,
    data_dir: Path | None = None,
    reading: ReadingOptions = _READING,
) -> int:
    """Draw what the network of a run learned and how: the pictures that suit its data.

    They are the decision regions of data with two features, beside those of a linear model; for images, the weights of
    the hidden units and the samples that excite them most; the way of a sample through the network, forward and
    backward; and what equal initial weights do.

    Parameters
    ----------
    run : Path
        Folder of a run that has ended.
    data : str
        A file with features and target, or a named data set [default: the data of the run]
    film : bool
        Train again, and draw the decision regions or the hidden units after many epochs as an animated GIF.
    sample : int
        Sample whose way through the network is shown, counted from 1 [default: the one with the highest loss]
    layer : int
        Hidden layer whose units' most exciting samples are shown.
    out : Path
        Folder for the pictures [default: the folder of the run]
    threads : int
        Threads for BLAS and everything else [default: all processors]
    data_dir : Path
        Folder with the IDX files of mnist or fashion-mnist.
    """
    run = run_folder(run)
    with limit_threads(threads), RunFolder(run, is_new=False) as folder:
        folder.open_run()
        shown = _Shown(open_finished_run(run, data, data_dir=data_dir, reading=reading), sample, layer)
        if film:
            _check_film(shown.model)
        _ = shown.one  # which refuses the number of a sample before anything is written
        write = folder.write if out is None else write_own(out)
        for picture in _PICTURES:
            if picture.suits(shown.model):
                print(f"{write(picture.name, picture.draw(shown))}: {picture.shows}")
        if film:
            what = "decision regions" if _is_plane(shown.model) else "weights of the hidden units"
            print(f"{write(FILM, _film(shown, run, data_dir))}: the {what} from epoch to epoch")
    return 0


@dataclass(frozen=True)
class _Shown:
    """A run whose pictures are shown."""

    run: FinishedRun
    sample: int | None
    layer: int

    @property
    def model(self) -> Model:
        return self.run.model

    @cached_property
    def one(self) -> tuple[Any, Any]:
        """Raw features, a table of one row or (1, n_features), and the raw target of the sample."""
        from xpnet.plot.predictions import raw_features, taken

        x, y = self.run.parts[self.run.scored_part]
        if self.sample is None:
            row = int(self.run.predictions.rows[np.argmax(self._losses())])
        elif 1 <= self.sample <= len(y):
            row = self.sample - 1
        else:
            raise InvalidParameterError(f"sample: expected a number from 1 to {len(y)}; received {self.sample}.")
        return taken(raw_features(self.model, x), np.asarray([row])), y[row]

    def _losses(self) -> np.ndarray:
        """Return the loss of each sample of `predictions`."""
        from xpnet.plot.plane import raw_targets

        network = self.model.network
        x, y = self.model.encode((self.run.predictions.x, raw_targets(self.run.predictions)))
        logits = network.forward(self.model.params, x)
        xp = namespace_of(logits)
        losses, _ = network.loss_function.value_and_gradient(xp, logits, network.targets(xp, y, x.dtype))
        return np.asarray(losses)


class _Picture(NamedTuple):
    """A picture: the name of its file, what it shows, the models that it suits, and its PNG."""

    name: str
    shows: str
    suits: Callable[[Model], bool]
    draw: Callable[[_Shown], bytes]


def _is_plane(model: Model) -> bool:
    from xpnet.plot.plane import is_plane

    return is_plane(model)


def _has_image_units(model: Model) -> bool:
    return model.image_shape is not None and model.network.n_layers > 1


def _can_be_symmetric(model: Model) -> bool:
    return _is_plane(model) and max(model.network.layer_sizes[1:-1], default=0) > 1


def _png(draw: Callable[[Any], Any], size: tuple[float, float]) -> bytes:
    from xpnet.plot.figures import new_figure, png

    figure = new_figure(*size)
    draw(figure.subplots())
    return png(figure)


def _regions(shown: _Shown) -> bytes:
    from xpnet import plot

    return _png(lambda ax: plot.decision_regions_beside_linear(shown.run.predictions, ax=ax), (9, 4))


def _units(shown: _Shown) -> bytes:
    from xpnet import plot
    from xpnet.plot.units import units_size

    return _png(lambda ax: plot.hidden_units(shown.model, ax=ax), units_size(shown.model))


def _patterns(shown: _Shown) -> bytes:
    from xpnet import plot

    return _png(lambda ax: plot.exciting_patterns(shown.run.predictions, layer=shown.layer, ax=ax), (7, 6))


def _forward(shown: _Shown) -> bytes:
    from xpnet import plot
    from xpnet.plot.passes import passes_size

    return _png(lambda ax: plot.forward_pass(shown.model, shown.one[0], ax), passes_size(shown.model))


def _backward(shown: _Shown) -> bytes:
    from xpnet import plot
    from xpnet.plot.passes import passes_size

    return _png(lambda ax: plot.backward_pass(shown.model, *shown.one, ax), passes_size(shown.model))


def _symmetry(shown: _Shown) -> bytes:
    """Draw it for a network like that of the run with one hidden layer of few units, which is trained in a moment."""
    from xpnet import plot

    given = shown.model.network
    sizes = given.layer_sizes[0], _SYMMETRIC_UNITS, given.layer_sizes[-1]
    network = Network(sizes, given.activation_names[0], output=given.output, loss=given.loss)
    x, y = shown.model.encode(next(iter(shown.run.parts.values())))
    return _png(lambda ax: plot.symmetry(network, x, y, ax), (8, 6.5))


_PICTURES = (
    _Picture("regions.png", "the decision regions, beside those of a linear model", _is_plane, _regions),
    _Picture("units.png", "the weights of the hidden units", _has_image_units, _units),
    _Picture("patterns.png", "the samples that excite hidden units most", _has_image_units, _patterns),
    _Picture("forward.png", "the forward pass of a sample", lambda model: True, _forward),
    _Picture("backward.png", "the backward pass of the sample", lambda model: True, _backward),
    _Picture("symmetry.png", "what equal initial weights do", _can_be_symmetric, _symmetry),
)


def _check_film(model: Model) -> None:
    if not (_is_plane(model) or _has_image_units(model)):
        raise InvalidParameterError(
            "film: expected a run on two features or on images, with a hidden layer; received another. "
            "Draw the other pictures without --film."
        )


def _film(shown: _Shown, folder: Path, data_dir: Path | None) -> bytes:
    """Train the run again, and return a film of its epochs as a GIF."""
    from xpnet import plot
    from xpnet.plot.films import film_bytes
    from xpnet.plot.units import influential_units, units_size, weight_limit

    model = shown.model
    if _is_plane(model):
        part = shown.run.parts[shown.run.scored_part]
        return film_bytes(lambda each, ax: plot.decision_regions(each, *part, ax=ax), _frames(shown, folder, data_dir))
    units, limit = influential_units(model, _FILMED_UNITS), weight_limit(model)
    width, height = units_size(model, most=_FILMED_UNITS)

    def draw(each: Model, ax: Any) -> Any:
        return plot.hidden_units(each, ax=ax, units=units, limit=limit)

    return film_bytes(draw, _frames(shown, folder, data_dir, 32), size=(0.6 * width, 0.6 * height))


def _frames(shown: _Shown, folder: Path, data_dir: Path | None, n: int = 48) -> list[Frame]:
    """Train again as the run did, and return the model after at most `n` epochs."""
    from xpnet.plot.films import Frames

    data, options = read_config(folder / CONFIG)
    job = prepare(data, options if data_dir is None else replace(options, data_dir=data_dir))
    frames = Frames(n)
    trainer = replace(job.trainer, callbacks=[frames])
    vector = to_host(trainer.fit(**job.arguments(), params=job.model.params).params.vector)
    if not np.allclose(vector, np.asarray(shown.model.params.vector), rtol=1e-3, atol=1e-5):
        say(
            "the training that the film shows ended with other parameters than the run, because the run was "
            "interrupted, or the device or the number of threads is another."
        )
    return frames.of(shown.model)
