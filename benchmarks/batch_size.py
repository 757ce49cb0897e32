"""Measure the effect of the batch size: seconds per epoch, epochs and seconds to an accuracy, and final accuracy.

Run it as ``python benchmarks/batch_size.py --data-dir DIR [--accuracy 0.85] [--out FOLDER]``. It trains 784-128-64-10
with ReLU and Adam on Fashion-MNIST. The accuracy during training is measured on a validation part of a tenth, the final
accuracy on the test part. The learning rate grows with the square root of the batch size up to a limit, which keeps
Adam's noise constant (Malladi et al. (2022), NeurIPS, "On the SDEs and scaling rules for adaptive gradient
algorithms"). All batch sizes train for the same number of epochs, except that large ones train for some hundreds of
steps at least.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from writing import show, write

from xpnet import Model, Network, Trainer, load_dataset
from xpnet.bench.report import TextTable
from xpnet.data.split import split

SIZES = (784, 128, 64, 10)
BATCHES = (1, 4, 16, 64, 256, 1024, 4096, 16384)
BASE, LARGEST = 0.001 / math.sqrt(64), 0.01  # learning rate for batch size 1, and its limit


def learning_rate(batch: int) -> float:
    """Return the learning rate: proportional to the square root of the batch size, up to a limit."""
    return min(BASE * math.sqrt(batch), LARGEST)


def epochs_to(accuracies: list[float], wanted: float) -> int | None:
    """Return the first epoch, counted from 1, with the wanted accuracy, or None if there is none."""
    return next((i + 1 for i, accuracy in enumerate(accuracies) if accuracy >= wanted), None)


def main() -> None:
    """Print a table with a row for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--accuracy", type=float, default=0.85)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300, help="minimum number of steps, for large batch sizes")
    parser.add_argument(
        "--samples", type=int, default=60_000, help="samples of the training part, of which a tenth is for validation"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    dataset = load_dataset("fashion-mnist", data_dir=given.data_dir)
    x, y = (dataset.x[: given.samples] / np.float32(255)), dataset.y[: given.samples]
    parts = split(x, y, validation_fraction=0.1, test_fraction=0, stratify=True, seed=0)
    assert dataset.x_test is not None
    x_test, y_test = dataset.x_test / np.float32(255), dataset.y_test
    n = len(parts.x_train)
    network = Network(SIZES)
    rows: list[dict[str, Any]] = []
    cells = []
    for batch in (*(b for b in BATCHES if b < n), n):
        trainer = Trainer(
            network,
            learning_rate=learning_rate(batch),
            batch_size=batch,
            epochs=max(given.epochs, math.ceil(given.steps / math.ceil(n / batch))),
            device=given.device,
        )
        run = trainer.fit(parts.x_train, parts.y_train, validation=(parts.x_validation, parts.y_validation))
        accuracies = [record.validation["accuracy"] for record in run.history if record.validation]
        seconds = [record.seconds for record in run.history]
        needed = epochs_to(accuracies, given.accuracy)
        final = Model(network, run.params.vector, "classification").evaluate(x_test, y_test)["accuracy"]
        row = {
            "batch": batch,
            "learning_rate": learning_rate(batch),
            "seconds_an_epoch": statistics.median(seconds),
            "epochs": len(seconds),
            "epochs_to": needed,
            "seconds_to": sum(seconds[:needed]) if needed else None,
            "final": final,
            "validation": accuracies,
        }
        rows.append(row)
        cells.append((
            f"{batch:,}", f"{row['learning_rate']:.2g}", f"{row['seconds_an_epoch']:.2f}",
            "-" if needed is None else str(needed),
            "-" if needed is None else f"{row['seconds_to']:.1f}", f"{final:.3f}", str(len(seconds)),
        ))  # fmt: skip
        print(f"batch {batch:,}: {row['seconds_an_epoch']:.2f} s per epoch, {final:.3f}", flush=True)
    wanted = f"{given.accuracy:.0%}"
    columns = (
        "batch",
        "learning rate",
        "s per epoch",
        f"epochs to {wanted}",
        f"s to {wanted}",
        "final accuracy",
        "epochs",
    )
    title = f"Fashion-MNIST, {'-'.join(map(str, SIZES))}, Adam, {n:,} samples, on {given.device}: by batch size"
    table = TextTable(title, columns, cells)
    show(table)

    def draw(figure: Any) -> None:
        kinds = {
            "seconds_an_epoch": "seconds per epoch",
            "epochs_to": f"epochs to {wanted}",
            "seconds_to": f"seconds to {wanted}",
            "final": "final accuracy",
        }
        for axes, (key, label) in zip(figure.subplots(1, len(kinds)), kinds.items(), strict=True):
            points = [(row["batch"], row[key]) for row in rows if row[key] is not None]
            axes.plot(*zip(*points, strict=True), marker=".")
            axes.set(xlabel="batch size", title=label, xscale="log", yscale="linear" if key == "final" else "log")
            axes.grid(alpha=0.3)

    write(given.out, "batch-size", [table], [], {"rows": rows}, draw)


if __name__ == "__main__":
    main()
