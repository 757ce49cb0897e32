"""Measure the seconds to 88 % on the test part of Fashion-MNIST for xpnet, scikit-learn and PyTorch eager.

Run it as ``python benchmarks/time_to_accuracy.py --data-dir DIR [--seeds 5] [--out FOLDER]``. All libraries train the
same network from the same weights on the same batches in the same order, with the same optimizer and a constant
learning rate. The time starts with the call, when the data are in memory, and stops after the first epoch that reaches
the accuracy on the test part. Evaluation is not counted. The order of the libraries changes from seed to seed.

Network, batch size and learning rate were chosen on a validation part, without the test part: ``--search`` prints the
epochs and seconds that xpnet needs with each candidate.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import shuffle
from writing import show, write

from xpnet import Network, StopTraining, Trainer, load_dataset
from xpnet.bench.report import TextTable
from xpnet.data.split import split
from xpnet.threads import limit_threads

MOST_EPOCHS = 30


class Settings(NamedTuple):
    """A network and how it is trained. Momentum is 0.9; Adam has its default settings."""

    hidden: tuple[int, ...]
    batch: int
    optimizer: str
    learning_rate: float


CHOSEN = Settings((128,), 256, "adam", 0.003)
RATES = (("adam", 0.001), ("adam", 0.002), ("adam", 0.003), ("momentum", 0.1))
CANDIDATES = [
    Settings(hidden, batch, *rate)
    for hidden, batch, rate in itertools.product(((128,), (256,), (512,), (256, 128)), (64, 128, 256), RATES)
]


class Task(NamedTuple):
    """What every library gets: data, initial weights, the order of the samples, and the accuracy to reach."""

    settings: Settings
    x: np.ndarray
    y: np.ndarray
    x_held_out: np.ndarray
    y_held_out: np.ndarray
    seed: int
    accuracy: float

    @property
    def network(self) -> Network:
        """The network, whose initial weights all libraries use."""
        return Network((self.x.shape[1], *self.settings.hidden, 10))

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return new arrays with the initial weights, one (W, b) for each layer."""
        return list(self.network.init(self.seed, dtype="float32"))

    def orders(self) -> Iterator[np.ndarray]:
        """Yield the order of each epoch as scikit-learn draws it, because it accepts no other."""
        state = np.random.RandomState(self.seed)
        while True:
            yield shuffle(np.arange(len(self.x)), random_state=state).astype(np.int32)


class Clock:
    """A clock that records seconds and accuracy after each epoch, and stops during evaluation."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.seconds: list[float] = []
        self.accuracies: list[float] = []
        self._started = time.perf_counter()

    def lap(self, predict: Callable[[np.ndarray], np.ndarray]) -> bool:
        """Record the end of an epoch, and return whether to stop; `predict` returns a score for each class."""
        now = time.perf_counter()
        self.seconds.append(now - self._started)
        classes = np.argmax(predict(self.task.x_held_out), axis=1)
        self.accuracies.append(float(np.mean(classes == self.task.y_held_out)))
        self._started += time.perf_counter() - now
        return self.reached or len(self.seconds) == MOST_EPOCHS

    @property
    def reached(self) -> bool:
        """Whether the wanted accuracy was reached in the last epoch."""
        return self.accuracies[-1] >= self.task.accuracy


def train_xpnet(task: Task, device: str = "cpu") -> Clock:
    """Train with xpnet until the accuracy is reached."""
    network, params, orders = task.network, task.layers(), [*itertools.islice(task.orders(), MOST_EPOCHS)]
    trainer = Trainer(
        network,
        optimizer=task.settings.optimizer,
        learning_rate=task.settings.learning_rate,
        batch_size=task.settings.batch,
        epochs=MOST_EPOCHS,
        shuffle=lambda epoch, n: orders[epoch],
        device=device,
    )
    clock = Clock(task)

    def scores(params: Any) -> dict[str, float]:
        held = network.pack([(np.asarray(W), np.asarray(b)) for W, b in params])
        if clock.lap(lambda x: network.forward(held, x)):
            raise StopTraining
        return {}

    trainer.fit(task.x, task.y, validation=scores, params=params)
    return clock


def train_sklearn(task: Task) -> Clock:
    """Train with scikit-learn, one call of `partial_fit` for each epoch, which keeps the optimizer's state."""
    from sklearn.neural_network import MLPClassifier

    hidden, batch, optimizer, rate = task.settings
    solver = {"adam": "adam", "momentum": "sgd"}[optimizer]
    model = MLPClassifier(
        hidden, solver=solver, nesterovs_momentum=False, learning_rate_init=rate, batch_size=batch, alpha=0.0
    )
    # It accepts no initial weights. A first step creates its arrays, and the weights are written into them.
    model.partial_fit(task.x[:batch], task.y[:batch], classes=np.arange(10))
    for i, (W, b) in enumerate(task.layers()):
        model.coefs_[i][...], model.intercepts_[i][...] = W, b
    del model._optimizer
    model.set_params(random_state=np.random.RandomState(task.seed))
    clock = Clock(task)
    while True:
        model.partial_fit(task.x, task.y)
        if clock.lap(model.predict_proba):
            return clock


def train_torch(task: Task) -> Clock:
    """Train with PyTorch eager: modules, autograd, a fused optimizer."""
    import torch
    from torch import nn

    modules: list[Any] = []
    for W, b in task.layers():
        linear: Any = nn.utils.skip_init(nn.Linear, *W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T))
            linear.bias.copy_(torch.from_numpy(b))
        modules += [linear, nn.ReLU()]
    model = nn.Sequential(*modules[:-1])
    rules: dict[str, Any] = {"adam": torch.optim.Adam, "momentum": partial(torch.optim.SGD, momentum=0.9)}
    update = rules[task.settings.optimizer](model.parameters(), lr=task.settings.learning_rate, fused=True)

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            result: np.ndarray = model(torch.from_numpy(x)).numpy()
        return result

    orders = [*itertools.islice(task.orders(), MOST_EPOCHS)]
    clock = Clock(task)
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y).to(torch.int64)
    for order in orders:
        for row in torch.from_numpy(order).split(task.settings.batch):
            update.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(x.index_select(0, row)), y.index_select(0, row)).backward()
            update.step()
        if clock.lap(predict):
            break
    return clock


LIBRARIES: dict[str, Callable[[Task], Clock]] = {
    "xpnet": train_xpnet,
    "scikit-learn": train_sklearn,
    "PyTorch eager": train_torch,
}


def search(x: np.ndarray, y: np.ndarray, accuracy: float, seeds: int, out: Path | None) -> None:
    """Print epochs and seconds until each candidate reaches the accuracy on a validation part."""
    parts = split(x, y, validation_fraction=1 / 6, test_fraction=0, stratify=True, seed=0)
    assert parts.x_validation is not None
    assert parts.y_validation is not None
    held_out = parts.x_validation, parts.y_validation
    found = []
    for settings in CANDIDATES:
        clocks = [
            train_xpnet(Task(settings, parts.x_train, parts.y_train, *held_out, seed, accuracy))
            for seed in range(seeds)
        ]
        missed = sum(not clock.reached for clock in clocks)
        epochs, seconds = (
            statistics.median(pick(clock) for clock in clocks)
            for pick in (lambda clock: len(clock.seconds), lambda clock: clock.seconds[-1])
        )
        found.append((missed, seconds, epochs, settings))
        print(f"{settings}: {epochs} epochs, {seconds:.1f} s, not reached with {missed} of {seeds} seeds", flush=True)
    found.sort()
    cells = [
        (
            "-".join(map(str, s.hidden)),
            str(s.batch),
            s.optimizer,
            f"{s.learning_rate:g}",
            f"{epochs:g}",
            f"{seconds:.1f}",
            str(missed),
        )
        for missed, seconds, epochs, s in found
    ]
    columns = (
        "hidden",
        "batch",
        "optimizer",
        "learning rate",
        "epochs",
        "seconds",
        f"seeds of {seeds} that did not reach it",
    )
    table = TextTable(f"epochs and seconds to {accuracy:.0%} on the validation part, medians", columns, cells)
    show(table)
    write(out, "time-to-accuracy-search", [table], [], {"found": found})


def main() -> None:
    """Print a table with a row for each library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--accuracy", type=float, default=0.88)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=60_000, help="samples of the training part")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with limit_threads(given.threads):
        dataset = load_dataset("fashion-mnist", data_dir=given.data_dir)
        assert dataset.x_test is not None
        assert dataset.y_test is not None
        x, y = dataset.x[: given.samples] / np.float32(255), dataset.y[: given.samples]
        if given.search:
            search(x, y, given.accuracy, given.seeds, given.out)
            return
        x_test = dataset.x_test / np.float32(255)
        clocks: dict[str, list[Clock]] = {name: [] for name in LIBRARIES}
        warnings.filterwarnings("ignore")
        for seed in range(given.seeds):
            task = Task(CHOSEN, x, y, x_test, dataset.y_test, seed, given.accuracy)
            for name in [*LIBRARIES][seed % 3 :] + [*LIBRARIES][: seed % 3]:
                clock = LIBRARIES[name](task)
                clocks[name].append(clock)
                print(f"seed {seed}, {name}: {clock.seconds[-1]:.2f} s, {len(clock.seconds)} epochs", flush=True)
    report(clocks, given.accuracy, given.out)


def report(clocks: dict[str, list[Clock]], accuracy: float, out: Path | None) -> None:
    """Print the medians over the seeds. A run that did not reach the accuracy counts with all of its epochs."""
    base = statistics.median(clock.seconds[-1] for clock in clocks["xpnet"])
    cells, values = [], {}
    for name, own in clocks.items():
        seconds = [clock.seconds[-1] for clock in own]
        cells.append((
            name,
            f"{statistics.median(seconds):.2f}",
            f"{min(seconds):.2f} to {max(seconds):.2f}",
            f"{statistics.median(len(clock.seconds) for clock in own):g}",
            f"{statistics.median(clock.seconds[-1] / len(clock.seconds) for clock in own):.3f}",
            f"{statistics.median(clock.accuracies[-1] for clock in own):.4f}",
            str(sum(not clock.reached for clock in own)),
            f"{statistics.median(seconds) / base:.2f}",
        ))  # fmt: skip
        values[name] = [{"seconds": clock.seconds, "accuracies": clock.accuracies} for clock in own]
    sizes = "-".join(map(str, (784, *CHOSEN.hidden, 10)))
    title = (
        f"seconds to {accuracy:.0%} on the test part of Fashion-MNIST: {sizes} ReLU, "
        f"batch {CHOSEN.batch}, {CHOSEN.optimizer} {CHOSEN.learning_rate:g}, {len(clocks['xpnet'])} seeds"
    )
    columns = (
        "library",
        "seconds",
        "range",
        "epochs",
        "s per epoch",
        "accuracy",
        "seeds without it",
        "time relative to xpnet (lower is faster)",
    )
    table = TextTable(title, columns, cells)
    show(table)
    write(out, "time-to-accuracy", [table], [], {"settings": CHOSEN._asdict(), "runs": values})


if __name__ == "__main__":
    main()
