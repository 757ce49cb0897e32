"""A film of how a network learns: a picture for each of some epochs, as an animated GIF or PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import to_host
from xpnet.constraints import check_constraints, integer
from xpnet.errors import InvalidParameterError, shown
from xpnet.files import write_output
from xpnet.model.model import Model
from xpnet.plot.figures import new_figure
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.state import Run

__all__ = ["Frame", "Frames", "film", "film_bytes"]

_COLOURS = 256  # in a palette that all pictures share, which keeps the file small
_STEP = 4  # in a channel: nearer colours count as one
MARK = b"Creator xpnet"  # in a GIF
_LAST = 2000  # milliseconds of the last picture
_KINDS = {".gif": "GIF", ".png": "PNG"}


class Frame(NamedTuple):
    """A model as it was after an epoch; epoch 0 is the start."""

    epoch: int
    model: Model


class Frames(Callback):
    """Keep the parameters of some epochs of a run: of the start, of the first ones, then of ever fewer.

    Networks learn fast at first, so the epochs are spaced evenly on a logarithmic scale.

    Parameters
    ----------
    n : int
        Largest number of epochs that are kept.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> x, y = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.asarray([0, 1, 1, 0])
    >>> frames = Frames(n=5)
    >>> run = xpnet.Trainer(xpnet.Network([2, 4, 2]), epochs=100, callbacks=[frames]).fit(x, y)
    >>> model = xpnet.Model(run.network, run.params.vector, "classification")
    >>> [frame.epoch for frame in frames.of(model)]
    [0, 1, 5, 22, 100]
    """

    def __init__(self, n: int = 48) -> None:
        self.n = n
        check_constraints(self, {"n": integer(2)})

    def on_start(self, n_steps: int, epochs: int) -> None:
        """Choose the epochs."""
        self._chosen = {0, *np.geomspace(1, epochs, self.n - 1).round().astype(int).tolist()}
        self._vectors: dict[int, np.ndarray] = {}

    def on_state(self, run: Run) -> None:
        """Keep the parameters of the start and of the last epoch."""
        if not self._vectors or run.stopped != "running":
            self._keep(run)

    def on_epoch(self, record: EpochRecord, run: Run) -> None:
        """Keep the parameters of a chosen epoch."""
        if record.epoch in self._chosen:
            self._keep(run)

    def _keep(self, run: Run) -> None:
        # Those of the state: with early stopping, `run.params` are those of the best epoch.
        self._vectors[run.state.epoch] = np.array(to_host(run.state.params))

    def of(self, model: Model) -> list[Frame]:
        """Return the model with the parameters of each epoch that was kept."""
        return [Frame(epoch, replace(model, vector=vector)) for epoch, vector in self._vectors.items()]


def film(
    draw: Callable[[Model, Any], Any],
    frames: Iterable[Frame],
    path: str | Path,
    *,
    size: tuple[float, float] = (5, 4),
    milliseconds: int = 120,
) -> None:
    """Draw a picture of each frame, and write them as an animated GIF or PNG that plays again and again.

    The same frames give the same bytes.

    Parameters
    ----------
    draw : (model, ax) -> object
        Draws one picture; its title is replaced by the epoch.
    frames : iterable of Frame
        Such as ``frames.of(model)`` with `Frames`.
    path : str or Path
        A file ``.gif`` or ``.png``.
    size : (float, float)
        Width and height in inches.
    milliseconds : int
        Time of a picture. The last one stays for two seconds.

    Raises
    ------
    InvalidParameterError
        The path has another suffix, or there are no frames.
    XpnetError
        The file cannot be written.
    """
    kind = _KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise InvalidParameterError(f"path: expected a file .gif or .png; received {shown(str(path)):.80}.")
    write_output(path, film_bytes(draw, frames, kind, size=size, milliseconds=milliseconds))


def film_bytes(
    draw: Callable[[Model, Any], Any],
    frames: Iterable[Frame],
    kind: str = "GIF",
    *,
    size: tuple[float, float] = (5, 4),
    milliseconds: int = 120,
) -> bytes:
    """Return the film as the content of a file of the kind "GIF" or "PNG"; the parameters are those of `film`."""
    from PIL import Image, PngImagePlugin

    pictures = list(_pictures(draw, list(frames), size))
    if not pictures:
        raise InvalidParameterError("frames: expected at least one; received none.")
    palette = _palette(pictures[:: max(1, len(pictures) // 4)])
    first, *others = (Image.fromarray(each).quantize(palette=palette, dither=Image.Dither.NONE) for each in pictures)
    durations = [milliseconds] * len(others) + [_LAST]
    file = io.BytesIO()
    information = PngImagePlugin.PngInfo()
    information.add_text("Creator", "xpnet")
    more: dict[str, dict[str, Any]] = {"GIF": {"comment": MARK.decode()}, "PNG": {"pnginfo": information}}
    first.save(file, kind, save_all=True, append_images=others, duration=durations, loop=0, **more[kind])
    return file.getvalue()


def _palette(pictures: list[np.ndarray]) -> Any:
    """Return an image with the palette of all pictures, from the distinct colours of some.

    Each colour counts once, so that a few strongly coloured points are not lost beside large pale regions.
    """
    from PIL import Image

    red, green, blue = np.concatenate(pictures).reshape(-1, 3).astype(np.int64).T // _STEP
    packed = np.unique(red << 16 | green << 8 | blue)
    distinct = _STEP * np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1) + _STEP // 2
    palette = Image.fromarray(distinct[None].astype(np.uint8)).quantize(_COLOURS)
    colours = np.reshape(palette.getpalette() or (), (-1, 3)).astype(int)
    colours[(colours > 255 - 2 * _STEP).all(axis=1)] = 255  # the background
    palette.putpalette(colours.ravel().tolist())
    return palette


def _pictures(
    draw: Callable[[Model, Any], Any], frames: list[Frame], size: tuple[float, float]
) -> Iterable[np.ndarray]:
    """Yield a picture of each frame, (height, width, 3) bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = new_figure(*size)
    canvas, ax = FigureCanvasAgg(figure), figure.subplots()
    for epoch, model in frames:
        ax.clear()
        draw(model, ax)
        ax.set_title(f"epoch {epoch}")
        canvas.draw()
        figure.set_layout_engine("none")  # the layout of the first picture is that of all: nothing jumps
        yield np.array(canvas.buffer_rgba())[..., :3]
