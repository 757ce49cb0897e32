"""What bad input gets: one clear line on stderr, exit 2, nothing written, no traceback."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import idx, idx_folder, refused, write_csv
from xpnet.data.readers.idx import IDX_NAMES

IMAGES, LABELS = IDX_NAMES[:2]
Files = Callable[[], object]


pytestmark = pytest.mark.usefixtures("folder")


def idx_file(name: str, change: Callable[[bytes], bytes], *, zipped: bool = False) -> Files:
    """Spoil one file of an IDX folder."""

    def make() -> None:
        path = idx_folder("images", zipped=zipped) / (f"{name}.gz" if zipped else name)
        path.write_bytes(change(path.read_bytes()))

    return make


def csv_file(*rows: str, header: str = "a,b,target") -> Files:
    return lambda: write_csv("data.csv", header, *rows)


def npz_file(x: object, y: object) -> Files:
    return lambda: np.savez("data.npz", X=np.asarray(x), y=np.asarray(y))


GOOD = [f"{i},{i * i},{i % 2}" for i in range(20)]

# What is wrong: the files, the data to train on, and words of the message.
DATA = {
    "missing file": (lambda: None, "nope.csv", ["nope.csv", "no such file or folder"]),
    "missing folder": (lambda: None, "no/such/folder", ["no/such/folder", "no such file or folder"]),
    "folder with no data": (lambda: Path("data").mkdir(), "./data", ["no data", IMAGES, ".csv"]),
    "wrong magic": (idx_file(IMAGES, lambda b: b"\1" + b[1:]), "images", [IMAGES, "wrong magic number", "01 00 08 03"]),
    "truncated IDX": (idx_file(IMAGES, lambda b: b[:-7]), "images", [IMAGES, "truncated", "160", "153"]),
    "truncated IDX header": (idx_file(LABELS, lambda b: b[:6]), "images", [LABELS, "truncated"]),
    "oversized IDX": (idx_file(LABELS, lambda b: b + b"x"), "images", [LABELS, "oversized", "40 bytes"]),
    "broken gzip": (idx_file(IMAGES, lambda b: b[:30], zipped=True), "images", [f"{IMAGES}.gz", "broken gzip"]),
    "no gzip at all": (idx_file(IMAGES, gzip.decompress, zipped=True), "images", [f"{IMAGES}.gz", "broken gzip"]),
    "CSV without any target": (csv_file("1,2,", "3,4,"), "data.csv", ["expected values", "2 rows without any"]),
    "CSV without a target column": (csv_file(*GOOD, header="a,b,c"), "data.csv", ["no target", "columns a, b, c"]),
    "CSV with uneven rows": (csv_file(*GOOD, "1,2"), "data.csv", ["line 22", "uneven rows", "received 2"]),
    "infinity in features": (csv_file(*GOOD, "inf,nan,1"), "data.csv", ["line 22", "column 'a'", "infinite"]),
    "infinity in targets": (csv_file("1,2,0.5", "3,4,-inf"), "data.csv", ["line 3", "target 'target'", "infinite"]),
    "NaN in an array": (npz_file([[1.0, 2], [3, np.nan]], [0, 1]), "data.npz", ["nan", "column 2", "row 2"]),
    "infinity in an array": (npz_file([[1.0, np.inf], [3, 4]], [0, 1]), "data.npz", ["inf", "column 2", "row 1"]),
    "NaN in an array of targets": (npz_file(np.ones((3, 2)), [0.5, 2.5, np.nan]), "data.npz", ["targets", "row 3"]),
    "unequal lengths": (npz_file(np.ones((3, 2)), [0, 1]), "data.npz", ["unequal lengths", "3 rows", "2 targets"]),
    "unequal lengths in IDX": (
        idx_file(LABELS, lambda b: idx(np.zeros(39))), "images", [LABELS, "unequal lengths", "40", "39"],
    ),
    "no samples": (csv_file(), "data.csv", ["no samples"]),
    "no samples in an array": (npz_file(np.ones((0, 2)), []), "data.npz", ["no samples"]),
    "empty file": (lambda: Path("data.csv").touch(), "data.csv", ["empty file"]),
    "one class": (csv_file("1,2,cat", "3,4,cat", "5,6,cat"), "data.csv", ["one class", "'cat'"]),
    "no feature": (csv_file("1", "0", header="target"), "data.csv", ["no features"]),
    "no archive": (lambda: Path("data.npz").write_bytes(b"PK\3\4 half"), "data.npz", ["data.npz"]),
    "no text": (lambda: Path("data.csv").write_bytes(b"a,target\n\xff\xfe,1\n"), "data.csv", ["UTF-8"]),
    "unknown data": (lambda: None, "digit", ["unknown data", "breast-cancer, circles", "Did you mean 'digits'?"]),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_bad_data(case):
    make, data, words = DATA[case]
    make()
    message = refused("train", data)
    assert all(word in message for word in words), message


# Options after `train iris`, and words of the message.
OPTIONS = {
    "unknown activation": ("--activation rleu", ["gelu", "prelu", "Did you mean 'relu'?"]),
    "unknown loss": ("--loss huberr", ["cross_entropy", "poisson", "Did you mean 'huber'?"]),
    "unknown optimiser": ("--optimizer adm", ["adagrad", "nesterov", "Did you mean 'adam'?"]),
    "loss of another name": ("--loss mse", ["'mse'. Did you mean 'squared_error'?"]),
    "loss that there is not": ("--loss mae", ["Did you mean 'huber:delta=0.1'? There is no absolute error"]),
    "activation of another name": ("--activation swish", ["Did you mean 'silu'?"]),
    "optimiser of another name": ("--optimizer nag", ["Did you mean 'nesterov'?"]),
    "initialiser of another name": ("--init kaiming-normal", ["Did you mean 'he_normal'?"]),
    "schedule of another name": ("--schedule plateau", ["Did you mean 'adaptive'?"]),
    "device of another name": ("--device cuda:1", ["received 'cuda:1'. Did you mean 'gpu:1'?"]),
    "unknown preset": ("--preset sigmoid-mes", ["digits-15", "xor", "Did you mean 'sigmoid-mse'?"]),
    "unknown device": ("--device gpuu", ["auto", "cpu", "Did you mean 'gpu'?"]),
    "unknown backend": ("--backend torhc", ["cupy", "jax", "numpy", "Did you mean 'torch'?"]),
    "unknown schedule": ("--schedule cosin", ["warmup", "Did you mean 'cosine'?"]),
    "unknown initialiser": ("--init he_norml", ["glorot_uniform", "zeros", "Did you mean 'he_normal'?"]),
    "unknown early-stopping metric": ("--early-stopping los", ["accuracy", "Did you mean 'loss'?"]),
    "another task's early-stopping metric": ("--early-stopping r2", ["--early-stopping:", "loss, accuracy", "'r2'"]),
    "unknown option of an activation": ("--activation leaky_relu:slop=1", ["leaky_relu", "Did you mean 'slope'?"]),
    "unknown option of an optimiser": ("--optimizer adam:beta=1", ["beta_1, beta_2", "Did you mean"]),
    "unknown scaling": ("--scale standrad", ["minmax", "none", "Did you mean 'standard'?"]),
    "unknown output": ("--output foo", ["unknown output:", "exp, gelu", "'foo'", "softmax for cross_entropy, sigmoid"]),
    "output of another name": ("--output linear --loss squared_error", ["Did you mean 'identity'?"]),
    "unknown task": ("--task clasification", ["--task", '"regression"', 'Did you mean "classification"?']),
    "unknown dtype": ("--dtype float16", ["--dtype", '"float32"', '"float64"']),
    "no such device": ("--device strict:cpu:99", ["strict:cpu:99", "xpnet devices"]),
    "backend and device that differ": ("--backend strict --device torch:cpu", ["--backend", "torch", "strict"]),
    "layer of size 0": ("--hidden 8,0", ["--hidden:", "at least 1", "received 0"]),
    "layer of negative size": ("--hidden=-3", ["--hidden:", "at least 1", "received -3"]),
    "layer that is no number": ("--hidden 8x8", ["--hidden:", "256,128", "'8x8'"]),
    "learning rate negative": ("--lr -0.1", ["--lr:", "at least 1.17549e-38", "received -0.1"]),
    "learning rate zero": ("--lr 0", ["--lr:", "at least 1.17549e-38", "received 0"]),
    "learning rate NaN": ("--lr nan", ["--lr:", "finite", "received nan"]),
    "learning rate infinite": ("--lr inf", ["--lr:", "finite", "received inf"]),
    "learning rate that is no number": ("--lr fast", ["--lr:", '"fast"']),
    "batch size above the data": ("--batch-size 106", ["--batch-size:", "at most", "105", "received 106"]),
    "batch size 0": ("--batch-size 0", ["--batch-size:", "at least 1", "received 0"]),
    "batch size that is no number": ("--batch-size some", ["--batch-size:", "'some'"]),
    "validation fraction of 1": ("--val-fraction 1", ["--val-fraction:", "less than 1", "received 1.0"]),
    "validation fraction negative": ("--val-fraction -0.1", ["--val-fraction:", "received -0.1"]),
    "test fraction NaN": ("--test-fraction nan", ["--test-fraction:", "received nan"]),
    "fractions that leave nothing": (
        "--val-fraction 0.5 --test-fraction 0.5", ["--val-fraction and --test-fraction:", "150 samples"],
    ),
    "dropout of 1": ("--dropout 1", ["--dropout:", "below 1", "received 1.0"]),
    "label smoothing of 1": ("--label-smoothing 1", ["--label-smoothing:", "below 1", "received 1.0"]),
    "L2 negative": ("--l2 -1", ["--l2:", "at least 0", "received -1.0"]),
    "L1 NaN": ("--l1 nan", ["--l1:", "finite", "received nan"]),
    "clipping at 0": ("--clip-norm 0", ["--clip-norm:", "above 0", "received 0"]),
    "momentum above 1": ("--momentum 1.1 --optimizer momentum", ["momentum", "from 0 to 1", "'1.1'"]),
    "momentum for an optimiser without": ("--momentum 0.5", ["--momentum:", "nesterov", "'adam'"]),
    "no epochs": ("--epochs 0", ["--epochs:", "at least 1", "received 0"]),
    "half an epoch": ("--epochs 1.5", ["--epochs:", "whole number", "'1.5'"]),
    "seed negative": ("--seed -1", ["--seed:", "received -1"]),
    "too many activations": ("--activation relu --activation tanh --activation relu", ["activation", "3"]),
    "early stopping without a validation part": ("--early-stopping loss --val-fraction 0", ["--early-stopping:"]),
    "loss of another task": ("--loss cross_entropy --task regression", ["--loss:", "squared_error", "regression"]),
    "target of a named data set": ("--target petal", ["--target:", "'petal'"]),
    "unknown option": ("--lrr 1", ["--lrr", "Did you mean --lr?"]),
    "option without its value": ("--lr", ["--lr"]),
    "a second data set": ("digits", ["digits"]),
}  # fmt: skip


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options(case):
    arguments, words = OPTIONS[case]
    message = refused("train", "iris", *arguments.split())
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["trian", 'Did you mean "train"?']),
        (["predict"], ["--model"]),
        (["predict", "model.safetensors"], ["--data"]),
        (["gradcheck", "--seed", "x"], ["--seed", '"x"']),
        (["devices", "all"], ["all"]),
    ],
)
def test_bad_commands(arguments, words):
    message = refused(*arguments)
    assert all(word in message for word in words), message


# The text of a configuration file, and words of the message.
CONFIGS = {
    "broken": ("lr = ", ["c.toml", "expected TOML", "Invalid value"]),
    "no text": (b"\xff\xfe", ["c.toml", "expected TOML"]),
    "unknown key": ("epoch = 3", ["c.toml", "'epoch'", "Did you mean 'epochs'?"]),
    "a table": ("[lr]\nvalue = 3", ["lr"]),
    "wrong type": ('lr = "fast"', ["[lr]", "c.toml", '"fast"']),
    "a list": ("lr = [1]", ["[lr]", "c.toml"]),
    "half an epoch": ("epochs = 1.5", ["[epochs]", "'1.5'"]),
    "bad value": ("lr = -1", ["--lr:", "received -1.0"]),
    "brackets": ("x = " + 20_000 * "[", ["c.toml", "expected TOML", "nested too deeply"]),
    "tables in tables": ("x = " + 20_000 * "{a=", ["c.toml", "expected TOML", "nested too deeply"]),
    "an endless integer": (f"epochs = {5000 * '9'}", ["c.toml", "expected TOML", "5000 digits"]),
    "itself": ('config = "c.toml"', ["'config'"]),
    "unknown preset": ('preset = "xro"', ["'xro'", "Did you mean 'xor'?"]),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_bad_configuration(case):
    text, words = CONFIGS[case]
    Path("c.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refused("train", "iris", "--config", "c.toml")
    assert all(word in message for word in words), message


@pytest.mark.parametrize(("path", "word"), [("nope.toml", "No such file"), (".", "directory"), ("a\nb", "a b")])
def test_missing_configuration(path, word):
    assert word in refused("train", "iris", "--config", path)
