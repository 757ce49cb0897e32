"""Films: which epochs they have, and that the file is a film of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xpnet import plot
from xpnet.errors import InvalidParameterError
from xpnet.model.model import Model
from xpnet.nn.network import Network
from xpnet.plot.films import Frame, film_bytes
from xpnet.training.trainer import Trainer

X, Y = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], np.float32), np.asarray([0, 1, 1, 0])
NETWORK = Network((2, 4, 2), "tanh")


def trained(frames: plot.Frames, **settings: Any) -> tuple[Model, list[Frame]]:
    run = Trainer(NETWORK, batch_size=None, callbacks=[frames], **settings).fit(X, Y)
    model = Model(NETWORK, run.params.vector, "classification")
    return model, frames.of(model)


def test_few_epochs_are_all_kept() -> None:
    model, frames = trained(plot.Frames(n=20), epochs=8)
    assert [frame.epoch for frame in frames] == list(range(9))
    np.testing.assert_array_equal(frames[0].model.vector, NETWORK.init(dtype="float32").vector)
    np.testing.assert_array_equal(frames[-1].model.vector, model.vector)
    for epoch in (1, 5):
        shorter, _ = trained(plot.Frames(), epochs=epoch)
        np.testing.assert_array_equal(frames[epoch].model.vector, shorter.vector)


def test_of_many_epochs_ever_fewer_are_kept() -> None:
    _, frames = trained(plot.Frames(n=10), epochs=300)
    epochs = [frame.epoch for frame in frames]
    assert len(epochs) <= 10
    assert epochs[:2] == [0, 1]
    assert epochs[-1] == 300
    assert (np.diff(np.diff(epochs)) >= 0).all()


def test_a_run_that_stops_early_ends_with_its_last_epoch() -> None:
    model, frames = trained(plot.Frames(n=5), epochs=1000, early_stopping="training_loss:patience=3", learning_rate=1.0)
    assert 0 < frames[-1].epoch < 1000
    assert frames[-1].epoch not in np.geomspace(1, 1000, 4).round()
    straight, _ = trained(plot.Frames(), epochs=frames[-1].epoch, learning_rate=1.0)
    np.testing.assert_allclose(frames[-1].model.vector, straight.vector, rtol=1e-5)
    assert not np.allclose(straight.vector, model.vector, rtol=1e-4)  # those of the best epoch


@pytest.mark.parametrize(("suffix", "kind"), [(".gif", "GIF"), (".png", "PNG")])
def test_the_file_has_a_picture_for_each_frame(suffix: str, kind: str, tmp_path: Any) -> None:
    _, frames = trained(plot.Frames(n=4), epochs=40, learning_rate=0.1)
    drawn: list[Any] = []

    def draw(model: Model, ax: Any) -> None:
        drawn.append(model)
        plot.decision_regions(model, X, Y, ax)

    path = tmp_path / f"film{suffix}"
    plot.film(draw, frames, path, size=(3, 2.4))
    assert [model is frame.model for model, frame in zip(drawn, frames, strict=True)] == [True] * len(frames)
    with Image.open(path) as image:
        assert image.format == kind
        assert image.n_frames == len(frames)
        assert image.size == (360, 288)
        pictures, durations = [], []
        for i in range(image.n_frames):
            image.seek(i)
            pictures.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
    assert durations == [120] * (len(frames) - 1) + [2000]
    assert not (pictures[0] == pictures[-1]).all()
    assert (pictures[0][0, 0] == 255).all()
    assert path.read_bytes() == film_bytes(draw, frames, kind, size=(3, 2.4))


def test_a_film_is_small() -> None:
    _, frames = trained(plot.Frames(n=6), epochs=40, learning_rate=0.1)
    data = film_bytes(lambda model, ax: plot.decision_regions(model, X, Y, ax), frames)
    assert len(data) / len(frames) < 2e6 / 48


def test_what_is_no_film(tmp_path: Any) -> None:
    with pytest.raises(InvalidParameterError, match=r"path: expected a file \.gif or \.png; received '.*film\.mp4'"):
        plot.film(lambda model, ax: None, [], tmp_path / "film.mp4")
    with pytest.raises(InvalidParameterError, match="frames: expected at least one"):
        film_bytes(lambda model, ax: None, [], "GIF")
    with pytest.raises(InvalidParameterError, match="n: expected an integer of at least 2"):
        plot.Frames(n=1)
    assert Image.open(io.BytesIO(film_bytes(lambda model, ax: None, [Frame(3, None)]))).n_frames == 1  # type: ignore[arg-type]
