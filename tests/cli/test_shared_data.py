"""Tests of data that ranks share: what they prepare together is what a single process prepares."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.thread_ranks import run_ranks
from xpnet.cli.job import prepare
from xpnet.cli.options import TrainOptions
from xpnet.data.scaled_bytes import ScaledBytes
from xpnet.data.shared_rows import SharedRows
from xpnet.data.streams import Source
from xpnet.errors import DataError, XpnetError

CHECKED = {"epochs": 2, "hidden": "5", "checkpoint_every": 1, "device": "cpu", "dtype": "float64"}
N = 83


def write_idx(folder, packed=False, n_train=N, shape=(4, 3)):
    rng = np.random.default_rng(1)
    folder.mkdir()
    for part, n in (("train", n_train), ("t10k", 13)):
        images, labels = rng.integers(0, 256, (n, *shape), dtype=np.uint8), np.arange(n, dtype=np.uint8) % 3
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
            path = folder / f"{part}-{name}-ubyte{'.gz' * packed}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def table(n=N):
    rng = np.random.default_rng(2)
    return pa.table(
        {
            "number": [None if i % 19 == 3 else f"{value:.3f}" for i, value in enumerate(rng.normal(size=n))],
            "colour": rng.choice(["red", "green", "blue"], n),
            "day": [f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(n)],
            "batch": [f"b{i // 4}" for i in range(n)],
            "mass": rng.uniform(1, 2, n),
            "target": [None if i in (5, 70) else "yes" if i % 3 else "no" for i in range(n)],
        }
    )


def write(kind, folder):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(N, 4)), np.arange(N) % 3
    path = folder / "data"
    if kind in ("idx", "idx.gz"):
        return write_idx(path, kind == "idx.gz")
    if kind in ("npy", "fortran.npy"):
        np.save(folder / "X.npy", np.asfortranarray(x) if kind == "fortran.npy" else x)
        np.save(folder / "y.npy", y * 1.5)
        return folder / "X.npy"
    path = folder / f"data.{kind.split('-')[-1]}"
    if kind == "npz":
        np.savez(path, x=x, y=y, x_test=x[:9], y_test=y[:9])
    elif kind == "packed-npz":
        np.savez_compressed(path, x=x.astype(np.float32), y=y)
    elif kind == "svm":
        path.write_text("\n".join(f"{t} 1:{a:.5f} 3:{b:.5f}" for t, (a, b) in zip(y, x[:, :2], strict=True)) + "\n")
    elif kind == "parquet":
        pq.write_table(table(), path, row_group_size=17)
    elif kind == "one-parquet":
        pq.write_table(table(), path)
    elif kind == "csv":
        table().to_pandas().to_csv(path, index=False)
    elif kind == "parquets":
        path.mkdir()
        for i in range(3):
            pq.write_table(table().slice(30 * i, 30), path / f"{i}.parquet", row_group_size=11)
    elif kind == "npzs":
        path.mkdir()
        for i in range(3):
            np.savez(path / f"{i}.npz", x=x[30 * i : 30 * (i + 1)], y=y[30 * i : 30 * (i + 1)])
    return path


def content(part):
    """Return the encoded samples of a part, whole."""
    if isinstance(part, Source):
        blocks = list(part)
        return tuple(np.concatenate([block[i] for block in blocks]) for i in (0, 1))
    x, y = part
    x = x.values / x.divisor if isinstance(x, ScaledBytes) and not isinstance(x.values, SharedRows) else x
    if isinstance(x, ScaledBytes):
        x = x.values[slice(None)] / x.divisor
    return (x[slice(None)] if isinstance(x, SharedRows) else x), y


def prepared(data, options, comm=None):
    job = prepare(str(data), options, comm)
    arguments = job.arguments()
    parts = {"train": (arguments["x"], arguments["y"]), "validation": arguments["validation"]}
    parts["train"] = arguments["x"] if isinstance(arguments["x"], Source) else parts["train"]
    if comm is not None and not isinstance(arguments["x"], Source):
        held = arguments["x"].values if isinstance(arguments["x"], ScaledBytes) else arguments["x"]
        assert isinstance(held, SharedRows)
        assert sum(comm.gather(len(held.own))) == len(held)
    contents = {name: content(part) for name, part in parts.items() if part is not None}
    return job, contents, arguments["sample_weight"], job.assess(job.model)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("digits", {}),
        ("idx", {}),
        ("idx.gz", {}),
        ("npy", {}),
        ("fortran.npy", {}),
        ("npz", {"scale": "robust"}),
        ("packed-npz", {"scale": "minmax"}),
        ("svm", {}),
        ("parquet", {"weight": "mass"}),
        ("parquet", {"group": "batch"}),
        ("parquet", {"time": "day"}),
        ("one-parquet", {}),
        ("csv", {}),
        ("csv", {"target": "mass", "scale": "robust"}),
        ("parquets", {}),
        ("npzs", {}),
    ],
)
def test_ranks_prepare_together_what_a_single_process_prepares(kind, more, size, tmp_path):
    data = kind if kind == "digits" else write(kind, tmp_path)
    options = TrainOptions(**{**CHECKED, **more})
    job, parts, weights, assessment = prepared(data, options)
    for own, own_parts, own_weights, of_rank in run_ranks(size, lambda comm: prepared(data, options, comm)):
        assert own.data.fingerprint == job.data.fingerprint
        assert (own.data.task, own.data.sizes, own.data.notes) == (job.data.task, job.data.sizes, job.data.notes)
        assert own.data.scale == job.data.scale
        np.testing.assert_array_equal(own.data.classes, job.data.classes)
        assert own.model.network == job.model.network
        np.testing.assert_array_equal(own.model.vector, job.model.vector)
        assert own_parts.keys() == parts.keys()
        for name, (x, y) in parts.items():
            np.testing.assert_allclose(own_parts[name][0], x, rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(own_parts[name][1], y, rtol=1e-12, atol=1e-13)
        if weights is not None:
            np.testing.assert_array_equal(own_weights, weights)
        for name, score in assessment.scores.items():
            assert of_rank.scores[name] == pytest.approx(score, rel=1e-9)
        assert of_rank.baseline == assessment.baseline
        if assessment.confusion is not None:
            np.testing.assert_array_equal(of_rank.confusion.predicted, assessment.confusion.predicted)


@pytest.mark.parametrize("kind", ["npy", "npz", "parquet", "csv", "idx.gz"])
def test_bad_data_are_one_error_for_all_ranks(kind, tmp_path):
    data = write(kind, tmp_path)
    file = data / "train-images-idx3-ubyte.gz" if data.is_dir() else data
    file.write_bytes(file.read_bytes()[:-60])
    options = TrainOptions(**CHECKED)
    with pytest.raises(XpnetError) as alone:
        prepare(str(data), options)

    def fails(comm):
        with pytest.raises(XpnetError) as shared:
            prepare(str(data), options, comm)
        comm.barrier()
        return str(shared.value)

    assert set(run_ranks(3, fails)) == {str(alone.value)}


def test_a_number_that_is_not_finite_is_named_by_its_row_in_the_file(tmp_path):
    x = np.ones((N, 3))
    x[N - 2, 1] = np.nan
    np.save(tmp_path / "X.npy", x)
    np.save(tmp_path / "y.npy", np.arange(N) % 2)

    def fails(comm):
        with pytest.raises(DataError, match=f"column 2, row {N - 1};"):
            prepare(str(tmp_path / "X.npy"), TrainOptions(**CHECKED), comm)
        return True

    assert all(run_ranks(4, fails))


def test_a_number_that_is_too_large_is_named_by_its_row_among_all(tmp_path):
    x = np.ones((N, 3))
    x[N - 2, 1] = 1e300
    np.save(tmp_path / "X.npy", x)
    np.save(tmp_path / "y.npy", np.arange(N) % 2)
    options = TrainOptions(**{**CHECKED, "dtype": "float32", "scale": "none", "val_fraction": 0, "test_fraction": 0})

    def fails(comm):
        with pytest.raises(DataError, match=f"column 2, row {N - 1};"):
            prepare(str(tmp_path / "X.npy"), options, comm).arguments()
        return True

    assert all(run_ranks(4, fails))


SCRIPT = """
import json, sys
from xpnet.cli.job import prepare
from xpnet.cli.options import TrainOptions
from xpnet.communicator import get_communicator
from xpnet.memory import current_bytes

comm, options = get_communicator("auto"), TrainOptions(device="cpu", hidden="8", checkpoint_every=1)
prepare("digits", options, comm).arguments()  # imports what reading needs
before = current_bytes()
job = prepare(sys.argv[1], options, comm)
x = job.arguments()["x"].values
grown = current_bytes() - before
held, all_grown = (x.nbytes, grown) if comm is None else map(sum, zip(*comm.gather((x.own.nbytes, grown))))
if comm is None or comm.rank == 0:
    print(json.dumps([held, all_grown, job.data.fingerprint, int(job.parts["train"][1].sum())]))
"""


def test_images_on_4_ranks_take_no_more_memory_than_on_one(tmp_path):
    pytest.importorskip("mpi4py")
    mpirun = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if mpirun is None:
        pytest.skip("no mpirun")
    data = write_idx(tmp_path / "idx", n_train=60_000, shape=(28, 28))
    single = [sys.executable, "-c", SCRIPT, str(data)]
    ranks = [mpirun, "--allow-run-as-root", "--oversubscribe", "-n", "4", *single]
    (held, grown, *rest), (held_by_4, grown_by_4, *rest_of_4) = (
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout)
        for command in (single, ranks)
    )
    assert held == held_by_4
    assert rest == rest_of_4
    # Each rank holds all targets, and MPI has buffers; four whole copies would take 141 MB more.
    assert grown_by_4 < grown + 25e6


def test_standard_input_is_refused():
    with pytest.raises(XpnetError, match="received the standard input"):
        run_ranks(2, lambda comm: prepare("-", TrainOptions(**CHECKED), comm))
