"""Images with many zero pixels: generated ones that imitate handwritten digits, or those of Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpnet.data.named import load_dataset

__all__ = ["N_CLASSES", "SIDE", "fashion_images", "zero_rich_images"]

SIDE, N_CLASSES = 28, 10
_VARIANTS = 12  # drawings of each class
_STROKES = 3  # of each drawing
_INSIDE = (7.0, 20.0)  # pixels between which strokes end, before a drawing is moved
_JITTER = 1.0  # pixels, by which the ends of a stroke differ between drawings
_MOST, _FURTHER = 5, 0.15  # pixels by which a drawing is moved, at most, and the share of those moved by one more
_WIDTH = 2.0  # pixels, of a stroke
_DARKEST = 0.15  # darker pixels are zero


def zero_rich_images(n_samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw images whose pixels are mostly zero: strokes that depend on the class, moved, with noise.

    As in handwritten digits, about 80 % of all values are zero. Pixels at the edge are zero in all images, and those
    beside them in all but a few, so that the gradients of their weights are exactly zero for many steps.

    Returns
    -------
    x : (n_samples, 784) float32, in [0, 1]
    y : (n_samples,) int32
        Class indices, from 0 to 9.
    """
    rng = np.random.default_rng(seed)
    ends = rng.uniform(*_INSIDE, (N_CLASSES, 1, _STROKES, 2, 2))
    ends = np.clip(ends + rng.normal(0, _JITTER, (N_CLASSES, _VARIANTS, _STROKES, 2, 2)), *_INSIDE)
    drawings = np.stack([_draw(strokes) for strokes in ends.reshape(-1, _STROKES, 2, 2)])
    moves = np.arange(-_MOST, _MOST + 1)
    moved = np.stack([[np.roll(drawings, (down, right), (1, 2)) for right in moves] for down in moves])
    y = rng.integers(0, N_CLASSES, n_samples, dtype=np.int32)
    variant = rng.integers(0, _VARIANTS, n_samples)
    down, right = rng.choice(moves.size, (2, n_samples), p=_chances(moves))
    x = moved[down, right, y * _VARIANTS + variant].reshape(n_samples, -1)
    x *= rng.uniform(0.6, 1.0, (n_samples, 1)).astype(np.float32)
    x *= rng.random(x.shape, dtype=np.float32) * np.float32(0.4) + np.float32(0.8)
    x[x < _DARKEST] = 0
    return np.minimum(x, 1, out=x), y


def _chances(moves: np.ndarray) -> np.ndarray:
    """Return the probability of each move: it falls geometrically, so that pixels near the edge are rarely reached."""
    chances = _FURTHER ** np.abs(moves, dtype=np.float64)
    return np.asarray(chances / chances.sum())


def _draw(strokes: np.ndarray) -> np.ndarray:
    """Return an image of line segments, (SIDE, SIDE) float32, given the two ends of each."""
    pixels = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), axis=-1)
    image = np.zeros((SIDE, SIDE))
    for begin, end in strokes:
        along = end - begin
        share = np.clip(((pixels - begin) @ along) / max(float(along @ along), 1e-9), 0, 1)
        distance = np.linalg.norm(pixels - begin - share[..., None] * along, axis=-1)
        image = np.maximum(image, np.exp(-((distance / _WIDTH) ** 2)))
    image[image < _DARKEST] = 0
    return image.astype(np.float32)


def fashion_images(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the training images of Fashion-MNIST, divided by 255, and their classes.

    Raises
    ------
    DataError
        The folder does not have them.
    """
    data = load_dataset("fashion-mnist", data_dir=folder)
    return np.asarray(data.x, np.float32) / np.float32(255), np.asarray(data.y, np.int32)
