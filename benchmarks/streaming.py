"""Compare the speed of training from a file in pieces with training from memory.

Run it as ``python benchmarks/streaming.py``. The network is that of mnist-large: 784-512-512-10, batch 256,
Adam, float32. The 60,000 random samples are in an ``.npy`` file that the page cache holds. Fits from memory and from
the file alternate, and the script prints the ratio of their median speeds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np

from xpnet.data.streams import open_source
from xpnet.nn.network import Network
from xpnet.training.trainer import Trainer


def main() -> None:
    """Measure both speeds and print them with their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=3, help="epochs in each fit; the first epoch is not counted")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--buffer", type=int, default=192, help="the stream's buffer in MiB")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((given.samples, 784), dtype=np.float32)
    y = rng.integers(0, 10, given.samples)
    network = Network((784, 512, 512, 10))
    trainer = Trainer(network, batch_size=256, epochs=given.epochs, device=given.device)
    speeds: dict[str, list[float]] = {"memory": [], "stream": []}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "x.npy"), x)
        np.save(Path(folder, "y.npy"), y)
        source = open_source(Path(folder, "x.npy"), buffer_bytes=given.buffer << 20)
        for _ in range(given.rounds):
            for name, data in (("memory", (x, y)), ("stream", (source,))):
                history = trainer.fit(*data).history
                speeds[name] += [record.samples_per_second for record in history[1:]]
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    for name, median in medians.items():
        print(f"{name}: {median:,.0f} samples/s ({min(speeds[name]):,.0f} to {max(speeds[name]):,.0f})")
    print(f"ratio: {medians['stream'] / medians['memory']:.3f}")


if __name__ == "__main__":
    main()
