"""scikit-learn's own tests of its MLP, and of every estimator, on ours."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from importlib import resources, util
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from xpnet import MLPClassifier
from xpnet.backend import get_backend
from xpnet.errors import BackendNotInstalledError, DeviceUnavailableError
from xpnet.estimators.labels import encode
from xpnet.estimators.lbfgs import objective
from xpnet.training.samples import to_samples

# They read what is private to scikit-learn's class; ours of the same name are at the end of this file.
PRIVATE = {
    "test_gradient": "calls _loss_grad_lbfgs",
    "test_learning_rate_warmstart": "reads _optimizer.learning_rate",
    "test_adaptive_learning_rate": "reads _optimizer.learning_rate",
}
IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"

CHECKS = """
import importlib.abc, json, sys, warnings
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator
from xpnet import Callback, MLPClassifier, MLPRegressor

class NoCuPy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "cupy":
            raise ModuleNotFoundError("it would import without a GPU, and raise when used")

if sys.argv[2] == "no GPU":
    sys.meta_path.insert(0, NoCuPy())
class Watch(Callback):
    pass

warnings.simplefilter("ignore")
for spelled in sys.argv[1].splitlines():
    estimator = eval(spelled)
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    checks = estimator_checks_generator(estimator)  # the same in the same order: for what each is told
    for result, (_, check) in zip(results, checks, strict=True):
        told = {name: str(value) for name, value in getattr(check, "keywords", {}).items()}
        print(json.dumps([spelled, result["check_name"], told, result["status"], repr(result["exception"])]))
"""
# scikit-learn's reasons not to check.
SKIPPED = (
    r"(cupy|dpnp|torch|array_api_strict) is not installed",
    r"PyTorch test requires cuda, which is not available",
    r"Skipping (MPS|XPU) device test",
    r"does not have a decision_function method",
)
# A sample taken twice is dropped out twice, not alike: no dropout can hold to these.
WEIGHTS_AS_COPIES = "check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"
INSTANCES = {
    "MLPClassifier": (
        "MLPClassifier()",
        "MLPClassifier(solver='lbfgs', alpha=1, class_weight='balanced', callbacks=[Watch()])",
        "MLPClassifier(20, solver='lbfgs', alpha=1, device='torch:cpu')",
    ),
    "MLPRegressor": (
        "MLPRegressor()",
        "MLPRegressor(solver='sgd', dropout=0.1, scoring='r2', callbacks=[Watch()])",
        "MLPRegressor(hidden_layer_sizes=20, solver='lbfgs', device='torch:cpu')",
    ),
}


def has_cupy_gpu() -> bool:
    try:
        get_backend("cupy:gpu")
    except (BackendNotInstalledError, DeviceUnavailableError):
        return False
    return True


def run(*arguments: object, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=280)


@pytest.mark.slow
def test_scikit_learns_tests_of_its_mlp_pass_with_ours(tmp_path: Path, environment: dict[str, str]) -> None:
    source = resources.files("sklearn.neural_network.tests").joinpath("test_mlp.py").read_text(encoding="utf-8")
    assert source.count(IMPORT) == 1
    suite = tmp_path / "test_theirs_on_ours.py"
    suite.write_text(source.replace(IMPORT, "from xpnet import MLPClassifier, MLPRegressor\n"), encoding="utf-8")
    options = ["-q", "-c", "/dev/null", "--rootdir", tmp_path, "-p", "no:cacheprovider", "-p", "sklearn.conftest"]
    outcome = run(
        "-m", "pytest", *options, f"--junitxml={tmp_path}/r.xml", suite, environment=environment, cwd=tmp_path
    )
    cases = list(ElementTree.parse(tmp_path / "r.xml").iter("testcase"))
    passed = [case for case in cases if not {child.tag for child in case} & {"failure", "error", "skipped"}]
    failed = {case.get("name") for case in cases if case not in passed}
    assert failed == set(PRIVATE), outcome.stdout
    assert len(passed) >= 50


@pytest.mark.slow
@pytest.mark.parametrize("estimator", INSTANCES)
def test_scikit_learns_checks_of_every_estimator_pass(
    estimator: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    has_torch = util.find_spec("torch") is not None
    instances = [spelled for spelled in INSTANCES[estimator] if has_torch or "torch" not in spelled]
    arguments = ("-c", CHECKS, "\n".join(instances), "GPU" if has_cupy_gpu() else "no GPU")
    environment |= {"SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"}  # read when SciPy and PyTorch are imported
    outcome = run(*arguments, environment=environment, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    results = [json.loads(line) for line in outcome.stdout.splitlines()]
    for spelled in instances:
        mine = [result[1:] for result in results if result[0] == spelled]
        failed = [result for result in mine if result[2] not in ("passed", "skipped")]
        assert {name for name, *_ in failed} == set(WEIGHTS_AS_COPIES if "dropout" in spelled else ()), failed
        skipped = [reason for _, _, status, reason in mine if status == "skipped"]
        assert [reason for reason in skipped if not any(re.search(known, reason) for known in SKIPPED)] == []
        arrays = {
            (told["array_namespace"], told["device_name"])
            for name, told, status, _ in mine
            if name == "check_array_api_input" and status == "passed"
        }
        assert arrays >= {("numpy", "None"), ("array_api_strict", "CPU_DEVICE"), ("array_api_strict", "device1")}
        assert (("torch", "cpu") in arrays) == has_torch
        assert (("cupy", "None") in arrays) == has_cupy_gpu()
        assert sum(status == "passed" for _, _, status, _ in mine) >= 60
        print(spelled, len(mine), len(mine) - len(skipped) - len(failed))


# In place of those that read scikit-learn's private attributes.


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_the_gradient_of_the_objective_is_its_slope(activation: str, n_labels: int) -> None:
    rng = np.random.RandomState(42)
    x, labels = rng.rand(5, 10), 1 + np.arange(1, 6) % n_labels
    clf = MLPClassifier(10, activation, solver="lbfgs", alpha=1e-5, max_iter=1, random_state=1)
    with pytest.warns(ConvergenceWarning):
        clf.fit(x, labels)
    backend = get_backend("cpu")
    y = encode(labels, clf.classes_, multilabel=False)
    function = objective(clf.network_, backend, "float64", to_samples(clf.network_, backend, "float64", x, y))
    theta = np.concatenate([array.ravel() for array in clf.coefs_ + clf.intercepts_])
    steps = 1e-5 * np.eye(theta.size)
    slopes = [(function(theta + step)[0] - function(theta - step)[0]) / 2e-5 for step in steps]
    np.testing.assert_allclose(function(theta)[1], slopes, atol=1e-9)


@pytest.mark.parametrize(("learning_rate", "power"), [("constant", 0.0), ("invscaling", 0.25)])
def test_a_warm_start_goes_on_with_the_samples_seen(learning_rate: str, power: float) -> None:
    clf = MLPClassifier(
        4, solver="sgd", learning_rate=learning_rate, power_t=0.25, max_iter=2, warm_start=True, random_state=0
    )
    for _ in range(2):
        with pytest.warns(ConvergenceWarning):
            clf.fit([[3, 2], [1, 6], [5, 6], [-2, -4]], [1, 1, 1, 0])
    # As there: each fit begins with the initial rate, and goes on from the samples seen in all, of which there are 4.
    seen = np.asarray([0, 4, 0, 12])
    assert clf.history_["learning_rate"] == pytest.approx(0.001 * (seen + 1.0) ** -power)


def test_the_adaptive_rate_falls_to_its_end() -> None:
    clf = MLPClassifier(tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive", random_state=0)
    clf.fit([[3, 2], [1, 6]], [1, 0])
    assert clf.max_iter > clf.n_iter_
    rates = clf.history_["learning_rate"]
    assert rates[0] == 1e-3
    assert rates[-1] < 1e-6
    assert {round(a / b, 6) for a, b in itertools.pairwise(rates)} == {1.0, 5.0}
