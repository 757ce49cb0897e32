"""How fast training from a stream is, beside training from memory: ``python benchmarks/streaming.py``.

The network is that of the rung mnist-large (784-512-512-10, batch 256, Adam, float32), on 60,000 random samples in an
``.npy`` file that the page cache holds. Fits from memory and from the file take turns; what is printed is the ratio of
their median speeds.
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
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=3, help="of a fit; the first is not counted")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--buffer", type=int, default=192, help="MiB")
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
