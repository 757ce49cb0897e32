"""What the estimators do beyond scikit-learn's: parts of the library, class weights, histories, callbacks, restarts."""

from __future__ import annotations

import json
import os
import signal
import threading
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sklearn.callback
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, get_scorer, log_loss, make_scorer, mean_squared_error, roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils import compute_class_weight, compute_sample_weight

import xpnet
from xpnet import MLPClassifier, MLPRegressor
from xpnet.errors import InvalidParameterError
from xpnet.training.callbacks import Callback
from xpnet.training.schedules import Schedule

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

_rng = np.random.default_rng(8)
X = _rng.standard_normal((90, 4))
X_VAL = _rng.standard_normal((40, 4))


def binary(x: np.ndarray) -> np.ndarray:
    return (x[:, 0] + x[:, 1] * x[:, 2] > 0.3).astype(int)


def multiclass(x: np.ndarray) -> np.ndarray:
    return np.digitize(x[:, 0] + x[:, 1], [-0.8, 0.8])


def multilabel(x: np.ndarray) -> np.ndarray:
    return (x[:, :3] > [0.5, 0, 0.9]).astype(int)


def text(x: np.ndarray) -> np.ndarray:
    return np.asarray(["adelie", "chinstrap", "gentoo"])[multiclass(x)]


def values(x: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(x[:, 0]) + x[:, 1], x[:, 2] - 1], axis=1)


WEIGHT = _rng.uniform(0.2, 2, 90)
WEIGHT_VAL = _rng.uniform(0.2, 2, 40)
SETTINGS: dict[str, Any] = {
    "hidden_layer_sizes": (8, 6),
    "batch_size": 16,
    "learning_rate_init": 0.01,
    "max_iter": 6,
    "random_state": 0,
}
TO_THE_END: dict[str, Any] = {"tol": 0.0, "n_iter_no_change": np.inf}


def classifier(**params: Any) -> MLPClassifier:
    return MLPClassifier(**{**SETTINGS, **params})


def regressor(**params: Any) -> MLPRegressor:
    return MLPRegressor(**{**SETTINGS, **params})


def same_weights(one: Any, other: Any) -> None:
    # A long run and a short one may differ by the rounding of their sums.
    for a, b in zip([*one.coefs_, *one.intercepts_], [*other.coefs_, *other.intercepts_], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


# The library's parts

HALVED = Schedule(lambda memory, epoch, epochs: 0.5**epoch)
PARTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # of the estimator, of the network, of the trainer
    "dropout": ({"dropout": 0.2}, {"dropout": 0.2}, {}),
    "dropout of each layer": ({"dropout": [0.3, 0.0]}, {"dropout": [0.3, 0.0]}, {}),
    "l1": ({"l1": 0.01}, {"l1": 0.01}, {}),
    "label smoothing": ({"label_smoothing": 0.1}, {"label_smoothing": 0.1}, {}),
    "clipping": ({"clip_norm": 0.1}, {}, {"clip_norm": 0.1}),
    "activation": ({"activation": "gelu"}, {"activation": "gelu"}, {}),
    "activations": ({"activation": ["logistic", "elu"]}, {"activation": ["sigmoid", "elu"]}, {}),
    "learned slopes": ({"activation": "prelu"}, {"activation": "prelu"}, {}),
    "random slopes": ({"activation": "rrelu"}, {"activation": "rrelu"}, {}),
    "adamw": ({"solver": "adamw:weight_decay=0.1"}, {}, {"optimizer": "adamw:weight_decay=0.1"}),
    "rmsprop": ({"solver": "rmsprop"}, {}, {"optimizer": "rmsprop"}),
    "adagrad": ({"solver": "adagrad"}, {}, {"optimizer": "adagrad"}),
    "cosine": ({"learning_rate": "cosine"}, {}, {"schedule": "cosine"}),
    "steps": ({"learning_rate": "step:every=2"}, {}, {"schedule": "step:every=2"}),
    "a schedule of one's own": ({"learning_rate": HALVED}, {}, {"schedule": HALVED}),
    "huber": ({"loss": "huber:delta=0.3"}, {"loss": "huber:delta=0.3", "output": "sigmoid"}, {}),
    "squared error": ({"loss": "squared_error"}, {"loss": "squared_error", "output": "sigmoid"}, {}),
}


def seed_of(layer_sizes: tuple[int, ...], random_state: int = 0) -> int:
    """Draw the initial weights as scikit-learn does, and then the seed of what is random in training."""
    rng = np.random.RandomState(random_state)
    for fan_in, fan_out in pairwise(layer_sizes):
        rng.uniform(size=(fan_in + 1) * fan_out)
    return int(rng.randint(2**31 - 1))


@pytest.mark.parametrize("part", PARTS)
def test_it_is_the_trainer_by_hand(part: str) -> None:
    of_estimator, of_network, of_trainer = PARTS[part]
    sizes = (4, 8, 6, 3)
    init = [(_rng.normal(size=s, scale=0.4), _rng.normal(size=s[1])) for s in pairwise(sizes)]
    clf = classifier(**TO_THE_END, shuffle=False, alpha=0.05, **of_estimator)
    clf.fit(X, multiclass(X), WEIGHT, coefs_init=[W for W, _ in init], intercepts_init=[b for _, b in init])
    network = xpnet.Network(sizes, **{"l2": 0.05, "penalty_reduction": "mean", **of_network})
    options: dict[str, Any] = {"optimizer": "adam:epsilon_hat=1e-8", "learning_rate": 0.01, "batch_size": 16}
    options |= {"epochs": 6, "shuffle": False, "dtype": "float64", "seed": seed_of(sizes), **of_trainer}
    run = xpnet.Trainer(network, **options).fit(X, multiclass(X), sample_weight=WEIGHT, params=init)
    np.testing.assert_array_equal(clf.network_.pack(clf._parameters()).vector, run.params.vector)
    scale = 1 / 3 if part == "squared error" else 1
    np.testing.assert_allclose(clf.loss_curve_, [scale * record.loss for record in run.history], rtol=1e-12)
    probabilities = clf.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    output = network.predict(run.params, X)
    np.testing.assert_allclose(probabilities, output / output.sum(axis=1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("part", [*PARTS, "initializer"])
def test_it_learns(part: str) -> None:
    params = {"initializer": "lecun_normal"} if part == "initializer" else PARTS[part][0]
    more = {} if part in ("cosine", "initializer") else {"learning_rate": "constant"}
    clf = classifier(**{**params, **more, "max_iter": 150, "learning_rate_init": 0.02, **TO_THE_END})
    assert clf.fit(X, multiclass(X)).score(X_VAL, multiclass(X_VAL)) > 0.7


def test_an_initializer_is_that_of_the_library() -> None:
    clf = classifier(initializer="he_normal", learning_rate_init=1e-37, max_iter=1).fit(X, text(X))
    seed = int(np.random.RandomState(0).randint(2**31 - 1))
    expected = xpnet.Network([4, 8, 6, 3], initializer="he_normal").init(seed)
    for W, (V, _) in zip(clf.coefs_, expected, strict=True):
        np.testing.assert_allclose(W, V, rtol=1e-12)


@pytest.mark.parametrize("loss", ["huber", "squared_error", "poisson"])
def test_losses_of_the_regressor(loss: str) -> None:
    y = np.exp(values(X)) if loss == "poisson" else values(X)
    reg = regressor(loss=loss, max_iter=200, activation=["tanh", "silu"]).fit(X, y)
    assert reg.score(X, y) > 0.8
    assert (reg.predict(X).min() > 0) == (loss == "poisson")


@pytest.mark.parametrize("target", [binary, multiclass, multilabel])
@pytest.mark.parametrize("loss", ["squared_error", "huber", "binary_cross_entropy"])
def test_other_losses_for_classes(loss: str, target: Any) -> None:
    y = target(X)
    clf = classifier(loss=loss, max_iter=200).fit(X, y)
    probabilities = clf.predict_proba(X)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    if y.ndim == 1:
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_array_equal(clf.predict(X), clf.classes_[probabilities.argmax(axis=1)])
    else:
        np.testing.assert_array_equal(clf.predict(X), probabilities > 0.5)
    assert clf.score(X, y) > 0.85


# Class weights

OF_TEXT = {"adelie": 3.0, "gentoo": 0.5}
CLASS_WEIGHTS = {
    "binary": (binary, {0: 0.5, 1: 4}),
    "text": (text, OF_TEXT),
    "labels": (multilabel, [{0: 1, 1: 3}, {0: 1, 1: 0.5}, {0: 2, 1: 1}]),
    **{f"balanced {target.__name__}": (target, "balanced") for target in (binary, text, multilabel)},
}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("given", [None, WEIGHT], ids=["alone", "with sample weights"])
@pytest.mark.parametrize("case", CLASS_WEIGHTS)
def test_class_weights_are_sample_weights(case: str, given: Any, solver: str) -> None:
    target, class_weight = CLASS_WEIGHTS[case]
    y = target(X)
    if class_weight == "balanced" and y.ndim == 1:  # by the weights of the samples of each class
        by_class = compute_class_weight("balanced", classes=np.unique(y), y=y, sample_weight=given)
        class_weight = dict(zip(np.unique(y).tolist(), by_class, strict=True))
    weight = compute_sample_weight(class_weight, y) * (1 if given is None else given)
    class_weight = CLASS_WEIGHTS[case][1]
    clf = classifier(class_weight=class_weight, solver=solver).fit(X, y, given)
    same_weights(clf, classifier(solver=solver).fit(X, y, weight))
    assert np.any(clf.coefs_[0] != classifier(solver=solver).fit(X, y, given).coefs_[0])


def test_class_weights_in_partial_fit() -> None:
    clf, twin = classifier(class_weight=OF_TEXT), classifier()
    for rows in (slice(0, 50), slice(50, 90)):
        y = text(X[rows])
        clf.partial_fit(X[rows], y, classes=np.unique(text(X)))
        twin.partial_fit(X[rows], y, compute_sample_weight(OF_TEXT, y), classes=np.unique(text(X)))
    same_weights(clf, twin)
    with pytest.raises(ValueError, match="class_weight 'balanced' is not supported for partial_fit"):
        classifier(class_weight="balanced").partial_fit(X, text(X), classes=np.unique(text(X)))


# Validation and histories


@pytest.mark.parametrize("weights", [False, True], ids=["without weights", "with weights"])
def test_the_history_is_that_of_refits(weights: bool) -> None:
    weight, weight_val = (WEIGHT, WEIGHT_VAL) if weights else (None, None)
    eval_set = (X_VAL, text(X_VAL), *([WEIGHT_VAL] if weights else []))
    # Early stopping that watches nothing yet: the scores are of the parameters after each epoch.
    clf = classifier(scoring=["neg_log_loss", "f1_macro"], alpha=0.0, **TO_THE_END)
    clf.fit(X, text(X), weight, eval_set=eval_set)
    assert set(clf.history_) == {
        *("train_loss", "train_neg_log_loss", "train_f1_macro", "learning_rate"),
        *("validation_loss", "validation_accuracy", "validation_neg_log_loss", "validation_f1_macro"),
    }
    assert {len(curve) for curve in clf.history_.values()} == {clf.n_iter_} == {6}
    assert clf.history_["train_loss"] == clf.loss_curve_
    assert clf.history_["learning_rate"] == [0.01] * 6
    for epoch in range(6):
        then = classifier(max_iter=epoch + 1, alpha=0.0, **TO_THE_END).fit(X, text(X), weight)
        y, p = text(X_VAL), then.predict_proba(X_VAL)
        expected = {
            "validation_loss": log_loss(y, p, sample_weight=weight_val),
            "validation_accuracy": accuracy_score(y, then.predict(X_VAL), sample_weight=weight_val),
        }
        for name in ("neg_log_loss", "f1_macro"):
            score = get_scorer(name)
            expected[f"train_{name}"] = score(then, X, text(X), sample_weight=weight)
            expected[f"validation_{name}"] = score(then, X_VAL, y, sample_weight=weight_val)
        assert {name: clf.history_[name][epoch] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_the_history_of_a_regressor() -> None:
    reg = regressor(scoring="neg_mean_absolute_error", alpha=0.0).fit(X, values(X), eval_set=(X_VAL, values(X_VAL)))
    assert reg.history_["validation_loss"][-1] == pytest.approx(
        mean_squared_error(values(X_VAL), reg.predict(X_VAL)) / 2
    )
    assert reg.history_["validation_r2"][-1] == pytest.approx(reg.score(X_VAL, values(X_VAL)))
    error = -np.mean(abs(values(X) - reg.predict(X)))
    assert reg.history_["train_neg_mean_absolute_error"][-1] == pytest.approx(error)


def mean_margin(estimator: Any, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(estimator.predict_proba(x)[:, 1] * (2 * y - 1)))


@pytest.mark.parametrize(
    ("scoring", "names"),
    [
        (None, []),
        ("roc_auc", ["roc_auc"]),
        (mean_margin, ["mean_margin"]),
        (make_scorer(accuracy_score), ["score"]),
        (["roc_auc", "f1"], ["roc_auc", "f1"]),
        ({"auc": "roc_auc", "margin": mean_margin}, ["auc", "margin"]),
    ],
    ids=["none", "a name", "a function", "a scorer", "names", "a mapping"],
)
def test_scorers_in_any_form(scoring: Any, names: list[str]) -> None:
    alone = classifier(scoring=scoring).fit(X, binary(X))
    assert set(alone.history_) == {"train_loss", "learning_rate", *(f"train_{name}" for name in names)}
    beside = classifier(scoring=scoring).fit(X, binary(X), eval_set=(X_VAL, binary(X_VAL)))
    validation = {f"validation_{name}" for name in ("loss", "accuracy", *names)}
    assert set(beside.history_) == {*alone.history_, *validation}
    same_weights(alone, beside)  # watching changes nothing
    for name, score in {"auc": roc_auc_score, "roc_auc": roc_auc_score}.items():
        if name in names:
            expected = score(binary(X), beside.predict_proba(X)[:, 1])
            assert beside.history_[f"train_{name}"][-1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("make", "target", "scoring", "metric"),
    [
        (classifier, binary, "roc_auc", "roc_auc"),
        (classifier, binary, ["neg_log_loss", "accuracy"], "neg_log_loss"),
        (classifier, text, None, "accuracy"),
        (classifier, text, {"f": "f1_macro"}, "f"),
        (classifier, multilabel, "f1_macro", "f1_macro"),
        (regressor, values, "neg_mean_absolute_error", "neg_mean_absolute_error"),
        (regressor, values, None, "r2"),
    ],
)
def test_early_stopping_restores_the_best_epoch(make: Any, target: Any, scoring: Any, metric: str) -> None:
    params: dict[str, Any] = {"early_stopping": True, "n_iter_no_change": 4, "max_iter": 200}
    params |= {"scoring": scoring, "learning_rate_init": 0.05}
    fitted = make(**params).fit(X, target(X), eval_set=(X_VAL, target(X_VAL)))
    scores = fitted.history_[f"validation_{metric}"]
    assert scores == fitted.validation_scores_
    best = int(np.argmax(scores))
    assert fitted.best_validation_score_ == scores[best]
    assert best < len(scores) - 1 < 199
    then = make(**{**params, "max_iter": best + 1, "n_iter_no_change": np.inf})
    same_weights(fitted, then.fit(X, target(X), eval_set=(X_VAL, target(X_VAL))))
    score = fitted.score if scoring is None else lambda *data: get_scorer(scorer_of(scoring))(fitted, *data)
    assert score(X_VAL, target(X_VAL)) == pytest.approx(scores[best])


def scorer_of(scoring: Any) -> str:
    return (
        scoring if isinstance(scoring, str) else next(iter(scoring.values() if isinstance(scoring, dict) else scoring))
    )


def test_the_split_is_scored_where_there_is_no_eval_set() -> None:
    y = text(X)
    clf = classifier(early_stopping=True, scoring="neg_log_loss", validation_fraction=0.2).fit(X, y, WEIGHT)
    rng = np.random.RandomState(0)
    for fan_in, fan_out in pairwise((4, 8, 6, 3)):
        rng.uniform(size=(fan_in + 1) * fan_out)
    train, held_out = train_test_split(np.arange(90), random_state=rng, test_size=0.2)
    assert clf.t_ == len(train) * clf.n_iter_
    for part, rows in (("train", train), ("validation", held_out)):
        score = get_scorer("neg_log_loss")(clf, X[rows], y[rows], sample_weight=WEIGHT[rows])
        best = int(np.argmax(clf.validation_scores_))
        assert clf.history_[f"{part}_neg_log_loss"][best] == pytest.approx(score)


def test_an_eval_set_leaves_all_data_to_training() -> None:
    data = {"eval_set": (X_VAL, text(X_VAL))}
    clf = classifier(early_stopping=True, **TO_THE_END).fit(X, text(X), **data)
    assert clf.t_ == 90 * 6
    # Until the best epoch it is the fit without early stopping.
    best = int(np.argmax(clf.validation_scores_)) + 1
    same_weights(clf, classifier(max_iter=best).fit(X, text(X)))


@pytest.mark.parametrize("extra", [[], None, 3])
def test_what_is_no_eval_set_is_refused(extra: Any) -> None:
    given = (X_VAL, text(X_VAL), *([extra] * 2)) if extra is None else extra
    with pytest.raises(InvalidParameterError, match=r"eval_set: expected \(X, y\) or \(X, y, sample_weight\)"):
        classifier().fit(X, text(X), eval_set=given)


def test_an_eval_set_that_does_not_fit_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"classes not in `self.classes_`.*'y' has \['emperor'\]"):
        classifier().fit(X, text(X), eval_set=(X_VAL, np.full(40, "emperor")))
    with pytest.raises(ValueError, match="X has 2 features, but MLPClassifier is expecting 4"):
        classifier().fit(X, text(X), eval_set=(X_VAL[:, :2], text(X_VAL)))
    with pytest.raises(ValueError, match="NaN"):
        regressor().fit(X, values(X), eval_set=(X_VAL * np.nan, values(X_VAL)))


# Callbacks: the library's


class Log(Callback):
    """Notes what it is told; it does as it is asked at a call of `on_steps` or `on_epoch`."""

    def __init__(self, at: int = -1, action: Any = None, hook: str = "on_epoch") -> None:
        self.log: list[str] = []
        self.at, self.action, self.hook = at, action, hook

    def _note(self, hook: str) -> None:
        self.log.append(hook)
        if hook == self.hook and self.log.count(hook) == self.at:
            self.action()

    def on_start(self, n_steps: int, epochs: int) -> None:
        self._note("on_start")

    def on_steps(self, epoch: int, done: int) -> None:
        self._note("on_steps")

    def on_epoch(self, record: Any, run: Any) -> None:
        self._note("on_epoch")

    def on_end(self) -> None:
        self._note("on_end")


def stop() -> None:
    raise xpnet.StopTraining


def fail() -> None:
    raise OSError("full")


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


SOLVERS = pytest.mark.parametrize("solver", ["adam", "lbfgs"])


@SOLVERS
def test_a_callback_is_told_of_start_epochs_and_end(solver: str) -> None:
    log = Log()
    clf = classifier(callbacks=[log], solver=solver).fit(X, text(X))
    assert (log.log[0], log.log[-1]) == ("on_start", "on_end")
    assert log.log.count("on_epoch") == clf.n_iter_ == 6
    assert log.log.count("on_steps") >= 6
    same_weights(clf, classifier(solver=solver).fit(X, text(X)))


@SOLVERS
@pytest.mark.parametrize("hook", ["on_epoch", "on_steps"])
def test_a_callback_ends_the_fit(solver: str, hook: str) -> None:
    log = Log(2, stop, hook)
    clf = classifier(callbacks=[log], solver=solver).fit(X, text(X))
    assert log.log.count(hook) == 2
    assert log.log[-1] == "on_end"
    assert clf.n_iter_ <= 2
    assert set(clf.predict(X)) <= set(text(X))
    if hook == "on_epoch":
        same_weights(clf, classifier(max_iter=2, solver=solver).fit(X, text(X)))


@SOLVERS
def test_ctrl_c_leaves_a_usable_estimator(solver: str) -> None:
    handler = signal.getsignal(signal.SIGINT)
    clf = classifier(callbacks=[Log(2, press_ctrl_c, "on_steps")], solver=solver, max_iter=100)
    with pytest.warns(UserWarning, match="Training interrupted by user") as caught:
        clf.fit(X, text(X))
    assert caught[0].filename == __file__
    assert clf.n_iter_ <= 2
    assert len(clf.predict(X)) == 90
    assert signal.getsignal(signal.SIGINT) is handler


@SOLVERS
def test_the_end_where_a_callback_fails(solver: str) -> None:
    handler = signal.getsignal(signal.SIGINT)
    log = Log()
    with pytest.raises(OSError, match="full"):
        classifier(callbacks=[log, Log(2, fail)], solver=solver).fit(X, text(X))
    assert log.log[-1] == "on_end"
    assert signal.getsignal(signal.SIGINT) is handler


@SOLVERS
def test_ready_made_callbacks(solver: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = xpnet.Checkpoint(tmp_path / "checkpoints")
    callbacks = [xpnet.MetricsFile(tmp_path / "m.jsonl"), checkpoint, xpnet.Progress(), xpnet.TimeLimit(60)]
    eval_set = (X_VAL, text(X_VAL)) if solver == "adam" else None
    clf = classifier(callbacks=callbacks, solver=solver).fit(X, text(X), eval_set=eval_set)
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    saved, state = xpnet.load_state(max((tmp_path / "checkpoints").iterdir()))
    np.testing.assert_array_equal(saved.pack(clf._parameters()).vector, state.params)
    assert "epoch 6/6  loss 0." in capsys.readouterr().err
    if solver == "adam":
        assert [line["validation"]["loss"] for line in lines] == clf.history_["validation_loss"]
        assert [line["loss"] for line in lines] == clf.loss_curve_


def test_a_time_limit_and_a_schedule() -> None:
    clf = classifier(callbacks=[xpnet.TimeLimit(1e-9)], max_iter=10**6).fit(X, text(X))
    assert clf.n_iter_ == 0
    halving = xpnet.LearningRateSchedule(lambda epoch, rate: rate / 2 ** (epoch - 1))
    clf = classifier(callbacks=[halving], **TO_THE_END).fit(X, text(X))
    assert clf.history_["learning_rate"] == [0.01 / 2**epoch for epoch in range(6)]
    same_weights(clf, classifier(learning_rate=HALVED, **TO_THE_END).fit(X, text(X)))


@SOLVERS
def test_in_a_thread(solver: str) -> None:
    fitted = []
    thread = threading.Thread(target=lambda: fitted.append(classifier(solver=solver).fit(X, text(X))))
    thread.start()
    thread.join()
    same_weights(fitted[0], classifier(solver=solver).fit(X, text(X)))


# Callbacks: scikit-learn's


class Theirs:
    """A callback of scikit-learn's protocol that notes its calls and stops after some epochs."""

    def __init__(self, epochs: float = np.inf) -> None:
        self.log: list[str] = []
        self.scores: list[float] = []
        self.epochs = epochs

    def setup(self, estimator: Any, context: Any) -> None:
        self.log.append("setup")

    def teardown(self, estimator: Any, context: Any) -> None:
        self.log.append("teardown")

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self.log.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator: Any, context: Any, *, X: Any, y: Any, fitted_estimator: Any) -> bool:
        self.log.append(f"end {context.task_name}")
        if context.task_name == "epoch":
            self.scores.append(fitted_estimator.score(X, y))
        return self.log.count("end epoch") >= self.epochs


GIVEN = pytest.mark.parametrize("given", ["callbacks=", "set_callbacks"])


def with_callbacks(given: str, *callbacks: Any, **params: Any) -> MLPClassifier:
    if given == "callbacks=":
        return classifier(callbacks=list(callbacks), **params)
    return classifier(**params).set_callbacks(*callbacks)


@GIVEN
@SOLVERS
def test_the_protocol_of_scikit_learn(given: str, solver: str) -> None:
    theirs = Theirs()
    clf = with_callbacks(given, theirs, solver=solver).fit(X, text(X))
    assert theirs.log == ["setup", "begin fit", *["begin epoch", "end epoch"] * 6, "end fit", "teardown"]
    refits = [classifier(max_iter=k, solver=solver).fit(X, text(X)).score(X, text(X)) for k in range(1, 7)]
    assert theirs.scores == refits
    same_weights(clf, classifier(solver=solver).fit(X, text(X)))
    # Those of `callbacks=` are not set for good.
    assert hasattr(clf, "_skl_callbacks") == (given == "set_callbacks")


@GIVEN
@SOLVERS
def test_scikit_learns_callback_ends_the_fit(given: str, solver: str) -> None:
    theirs = Theirs(epochs=3)
    clf = with_callbacks(given, theirs, solver=solver).fit(X, text(X))
    assert clf.n_iter_ == 3
    assert theirs.log[-2:] == ["end fit", "teardown"]
    same_weights(clf, classifier(max_iter=3, solver=solver).fit(X, text(X)))


@GIVEN
@SOLVERS
def test_scikit_learns_callback_is_torn_down_where_the_fit_fails(given: str, solver: str) -> None:
    theirs = Theirs()
    params: dict[str, Any] = {"solver": solver}
    if given == "callbacks=":
        clf = classifier(callbacks=[theirs, Log(2, fail)], **params)
    else:
        clf = classifier(callbacks=[Log(2, fail)], **params).set_callbacks(theirs)
    with pytest.raises(OSError, match="full"):
        clf.fit(X, text(X))
    assert theirs.log.count("setup") == theirs.log.count("teardown") == 1
    assert hasattr(clf, "_skl_callbacks") == (given == "set_callbacks")


@GIVEN
@SOLVERS
def test_scikit_learns_monitor_and_bar(given: str, solver: str, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = sklearn.callback.ScoringMonitor(scoring="accuracy")
    clf = with_callbacks(given, monitor, sklearn.callback.ProgressBar(), solver=solver).fit(X, text(X), WEIGHT)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    refits = [classifier(max_iter=k, solver=solver).fit(X, text(X), WEIGHT) for k in range(1, 7)]
    assert [row["accuracy"] for row in epochs] == [fit.score(X, text(X), WEIGHT) for fit in refits]
    assert "MLPClassifier" in capsys.readouterr().out
    same_weights(clf, refits[-1])


@GIVEN
def test_callbacks_in_a_grid_search(given: str) -> None:
    theirs, ours = Theirs(), Log()
    clf = with_callbacks(given, theirs, max_iter=2)
    clf.set_params(callbacks=[ours, *(clf.callbacks or ())])
    search = GridSearchCV(clf, {"alpha": [1e-4, 1.0]}, cv=2).fit(X, text(X))
    # scikit-learn's `clone` copies parameters, so each fit has callbacks of its own; those that are set are shared.
    ours, *copies = search.best_estimator_.callbacks
    assert ours.log.count("on_start") == ours.log.count("on_end") == 1
    theirs, fits = (theirs, 5) if given == "set_callbacks" else (copies[0], 1)
    assert theirs.log.count("setup") == theirs.log.count("teardown") == fits
    assert theirs.log.count("end epoch") == 2 * fits


@pytest.mark.parametrize("given", [object(), "progress", Theirs, xpnet.Progress, print])
def test_what_is_no_callback_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"callbacks: expected instances of xpnet.Callback, or of scikit-learn's"):
        classifier(callbacks=[given]).fit(X, text(X))


# Warm starts, partial fits and initial weights


def test_warm_start_for_several_labels() -> None:
    clf = classifier(warm_start=True, shuffle=False, solver="sgd", momentum=0.0, **TO_THE_END)
    for _ in range(2):
        clf.fit(X, multilabel(X))
    assert len(clf.loss_curve_) == 12
    whole = classifier(max_iter=12, shuffle=False, solver="sgd", momentum=0.0, **TO_THE_END).fit(X, multilabel(X))
    np.testing.assert_allclose(clf.coefs_[0], whole.coefs_[0], rtol=1e-12)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        clf.fit(X, multilabel(X)[:, :2])


@pytest.mark.parametrize("classes", [None, np.arange(3)], ids=["without classes", "with classes"])
@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist], ids=["array", "lists"])
def test_partial_fit_for_several_labels(classes: Any, form: Any) -> None:
    clf = classifier(shuffle=False)
    for _ in range(6):
        clf.partial_fit(X, form(multilabel(X)), classes=classes)
    assert clf.classes_.tolist() == [0, 1, 2]
    assert clf.predict(X).shape == (90, 3)
    same_weights(clf, classifier(shuffle=False, **TO_THE_END).fit(X, multilabel(X)))
    with pytest.raises(ValueError, match="expected 3 labels per sample"):
        clf.partial_fit(X, multilabel(X)[:, :2])


@SOLVERS
def test_initial_weights(solver: str) -> None:
    start = classifier(solver=solver).fit(X, text(X))
    init = {"coefs_init": start.coefs_, "intercepts_init": start.intercepts_}
    kept = [W.copy() for W in start.coefs_]
    clf = classifier(solver=solver).fit(X, text(X), **init)
    if solver == "lbfgs":  # it draws no shuffles, so that a warm start is the same
        same_weights(clf, start.set_params(warm_start=True).fit(X, text(X)))
    assert clf.loss_ < start.loss_ or solver == "lbfgs"
    for W, expected in zip(init["coefs_init"], kept, strict=True):
        np.testing.assert_array_equal(W, expected)  # the user's are not written


def test_initial_weights_that_do_not_fit_are_refused() -> None:
    coefs = [np.zeros(shape) for shape in ((4, 8), (8, 6), (6, 3))]
    intercepts = [np.zeros(n) for n in (8, 6, 3)]
    for init in ({"coefs_init": coefs}, {"intercepts_init": intercepts}):
        with pytest.raises(InvalidParameterError, match="expected both or neither; received one of them"):
            classifier().fit(X, text(X), **init)
    with pytest.raises(InvalidParameterError, match="expected one of each per layer; received 3 and 2"):
        classifier().fit(X, text(X), coefs_init=coefs, intercepts_init=intercepts[:2])
    for wrong in ([W.T for W in coefs], coefs[:2]):
        with pytest.raises(InvalidParameterError, match=r"parameters: expected the shapes .*; received"):
            classifier().fit(X, text(X), coefs_init=wrong, intercepts_init=intercepts[: len(wrong)])


def test_the_end_without_convergence_is_a_warning() -> None:
    with pytest.warns(ConvergenceWarning, match="Maximum iterations") as caught:
        classifier().fit(X, text(X))
    assert caught[0].filename == __file__  # the user's line, not one within
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        classifier(solver="lbfgs", max_iter=2).fit(X, text(X))
    with warnings.catch_warnings(action="error"):
        assert classifier(max_iter=500, tol=0.1).fit(X, text(X)).n_iter_ < 500
