from pathlib import Path

import numpy as np
import pytest

from xpnet.data.images import as_images, image_shape
from xpnet.data.named import load_dataset
from xpnet.data.readers import read_dataset
from xpnet.data.streams import open_source


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((9, 4), None),
        ((9, 2, 3), (2, 3)),
        ((9, 3, 5, 6), (3, 5, 6)),
        ((9, 5, 6, 4), (5, 6, 4)),
        ((9, 5, 6, 7), None),
        ((9, 1, 2, 3, 4), None),
    ],
)
def test_what_is_an_image(shape: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    assert image_shape(shape) == expected


@pytest.mark.parametrize("shape", [(9, 5, 6), (9, 5, 6, 1), (9, 1, 5, 6), (9, 5, 6, 3), (9, 3, 5, 6)])
def test_features_become_images_again(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    images = as_images(x.reshape(9, -1), shape[1:])
    colours = () if len(shape) == 3 or 1 in shape else (3,)
    assert images.shape == (9, 5, 6, *colours)
    expected = np.moveaxis(x, 1, 3) if len(shape) == 4 and shape[1] < 4 else x
    np.testing.assert_array_equal(images, expected.reshape(images.shape))


def test_features_of_another_size_are_no_images() -> None:
    with pytest.raises(ValueError, match=r"expected 6 features; received the shape \(12, 1\)"):
        as_images(np.zeros((12, 1)), (2, 3))


def test_files_of_arrays_keep_the_shape_of_their_images(tmp_path: Path) -> None:
    x, y = np.arange(60.0).reshape(5, 3, 4), np.arange(5) % 2
    np.save(tmp_path / "X.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "images.npz", x=x, y=y)
    np.savez(tmp_path / "columns.npz", x=x.reshape(5, 12), y=y)
    for name, expected in {"X.npy": (3, 4), "images.npz": (3, 4), "columns.npz": None}.items():
        assert read_dataset(tmp_path / name).image_shape == expected
        assert open_source(tmp_path / name).image_shape == expected


def test_named_images() -> None:
    assert load_dataset("digits").image_shape == (8, 8)
    assert load_dataset("iris").image_shape is None
