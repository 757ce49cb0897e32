"""The ready-made callbacks, and that each is told when training ends, however it does."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.runs import StopAt
from xpnet.errors import DataError, DivergenceError, InvalidParameterError, XpnetError
from xpnet.nn.network import Network
from xpnet.training.callbacks import Callback, Interrupt, LearningRateSchedule, StopTraining, TimeLimit
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.history import EpochRecord
from xpnet.training.metrics_file import MetricsFile, read_metrics
from xpnet.training.progress import Progress, _short_speed, figure
from xpnet.training.trainer import Run, RunState, Trainer

NETWORK = Network([4, 6, 3], "tanh")
_rng = np.random.default_rng(4)
X = _rng.standard_normal((12, 4))
Y = np.arange(12) % 3


def fit(*callbacks: Callback, epochs: int = 3, validation: Any = None, **options: Any) -> Run:
    trainer = Trainer(NETWORK, epochs=epochs, batch_size=4, callbacks=callbacks, **options)
    return trainer.fit(X, Y, validation=validation)


class RaiseAt(Callback):
    """Raises an error in one of the hooks."""

    def __init__(self, hook: str, error: BaseException) -> None:
        def fail(*_: Any) -> None:
            raise error

        setattr(self, hook, fail)


class Ends(Callback):
    """Notes that a run has ended."""

    def __init__(self, log: list[str], name: str = "") -> None:
        self.log, self.name = log, name

    def on_end(self) -> None:
        self.log.append(self.name)


# on_end


def test_the_end_of_a_run() -> None:
    log: list[str] = []
    fit(Ends(log, "a"), Ends(log, "b"))
    assert log == ["b", "a"]  # what started first ends last


def test_the_end_of_a_run_that_stops_early() -> None:
    log: list[str] = []
    assert fit(Ends(log), epochs=99, learning_rate=0.5, early_stopping="training_loss:patience=1").stopped != "epochs"
    assert fit(Ends(log), StopAt(2)).stopped == "interrupted"
    with pytest.raises(DivergenceError):
        fit(Ends(log), optimizer="sgd", learning_rate=1e300, dtype="float32")
    assert len(log) == 3


@pytest.mark.parametrize("error", [OSError(), KeyboardInterrupt(), StopTraining()])
@pytest.mark.parametrize("hook", ["on_start", "on_steps", "on_epoch", "learning_rate", "on_state", "on_end"])
def test_the_end_where_a_callback_fails(hook: str, error: BaseException) -> None:
    log: list[str] = []
    callbacks = [Ends(log, "before"), RaiseAt(hook, error), Ends(log, "after")]
    if isinstance(error, StopTraining) and hook != "on_end":
        fit(*callbacks)
    else:
        with pytest.raises(type(error)):
            fit(*callbacks)
    # One that was never started has no end.
    assert log == (["before"] if hook == "on_start" else ["after", "before"])


def test_one_whose_start_fails_has_an_end() -> None:
    class Half(Ends):
        def on_start(self, n_steps: int, epochs: int) -> None:
            raise OSError

    log: list[str] = []
    with pytest.raises(OSError):  # noqa: PT011 - it has no message
        fit(Half(log))
    assert len(log) == 1


# MetricsFile


def lines_of(path: Path) -> list[dict[str, Any]]:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_metrics(tmp_path: Path) -> None:
    path = tmp_path / "ö.jsonl"
    seen = []

    class Look(Callback):
        def on_epoch(self, record: EpochRecord, run: Run) -> None:
            seen.append(len(lines_of(path)))

    run = fit(MetricsFile(str(path)), Look(), validation=(X, Y))
    assert lines_of(path) == [record._asdict() for record in run.history]
    assert seen == [1, 2, 3]  # each is there at once


def test_another_run_starts_another_file(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "m")
    fit(metrics, epochs=3)
    fit(metrics, epochs=2)
    assert [line["epoch"] for line in lines_of(tmp_path / "m")] == [1, 2]


@pytest.mark.parametrize("half", [b"", b'{"epoch": 3, "lo', b'{"epoch": 3}', b'{"epoch": 3}\n{"epoch": 4}\n'])
def test_a_resumed_run_goes_on_with_the_file(half: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m"
    first = fit(MetricsFile(path), epochs=2)
    path.write_bytes(path.read_bytes() + half)
    run = Trainer(NETWORK, batch_size=4, epochs=4, callbacks=[MetricsFile(path)]).fit(X, Y, state=first.state)
    assert lines_of(path) == [record._asdict() for record in run.history]


def test_each_line_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "m"
    metrics = MetricsFile(path)
    metrics.on_start(1, 2)
    metrics.on_state(fit(epochs=1)._replace(state=RunState(None, None, None)))
    record = EpochRecord(1, 0.5, None, 0.1, 1.0, 1.0)
    metrics.on_epoch(record, None)
    node = path.stat().st_ino
    path.write_bytes(b"kept\n")
    metrics.on_epoch(record, None)
    assert path.read_bytes().startswith(b'kept\n{"epoch": 1')
    assert path.stat().st_ino == node


def test_what_json_has_no_number_for(tmp_path: Path) -> None:
    scores = {"a": math.nan, "b": np.float32("-inf"), "c": np.float32(0.5), "d": np.asarray(2), "e": 3}
    metrics = MetricsFile(tmp_path / "m")
    metrics.on_start(1, 1)
    metrics.on_state(fit(epochs=1)._replace(state=RunState(None, None, None)))
    metrics.on_epoch(EpochRecord(1, math.inf, scores, 0.1, 0.0, math.inf), None)
    (line,) = lines_of(tmp_path / "m")
    assert line["validation"] == {"a": None, "b": None, "c": 0.5, "d": 2.0, "e": 3}
    assert (line["epoch"], line["loss"], line["learning_rate"], line["samples_per_second"]) == (1, None, 0.1, None)


@pytest.mark.parametrize("path", ["", "a\0b", "no/such/folder/m", "x" * 300])
def test_metrics_that_cannot_be_written_cost_no_epoch(path: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    untrained = RaiseAt("on_steps", AssertionError("trained"))
    with pytest.raises(XpnetError, match=r"^cannot write [^\n]*Check the folder") as caught:
        fit(MetricsFile(path), untrained)
    assert caught.value.__cause__ is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"mine", b'{"epoch": 1, "accuracy": 1}', b"\0\0x", b"\0" * 99 + b"x"])
def test_what_is_no_file_of_metrics_stays(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(XpnetError, match="m: expected a new file, or one with metrics of a run; received another file"):
        fit(MetricsFile(tmp_path / "m"))
    assert (tmp_path / "m").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 99, b'{"epoch": 1, "loss": 2.5}\n'])
def test_metrics_of_a_run_that_was_killed_are_replaced(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(content)
    run = fit(MetricsFile(tmp_path / "m"))
    assert lines_of(tmp_path / "m") == [record._asdict() for record in run.history]


@pytest.mark.timeout(60)
@pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_metrics_to_a_link_or_a_pipe(kind: str, tmp_path: Path) -> None:
    path, received = tmp_path / "m", []
    if kind == "link":
        path.symlink_to(tmp_path / "there")
    else:
        os.mkfifo(path)
    with pytest.raises(XpnetError, match="cannot write "):
        fit(MetricsFile(path, regular=True))
    assert not (tmp_path / "there").exists()
    reader = threading.Thread(target=lambda: received.append(path.read_text()))
    if kind == "pipe":
        reader.start()
    fit(MetricsFile(path))
    if kind == "pipe":
        reader.join()
    else:
        received.append((tmp_path / "there").read_text())
    assert received[0].count("\n") == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_metrics_on_a_full_disk() -> None:
    with pytest.raises(XpnetError, match="cannot write /dev/full: No space left on device"):
        fit(MetricsFile("/dev/full"))


# TimeLimit


class Clock(Callback):
    """Lets time pass, an hour at each call of a hook."""

    def __init__(self, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("xpnet.training.callbacks.time.monotonic", lambda: self.now)
        setattr(self, hook, self._pass)

    def _pass(self, *_: Any) -> None:
        self.now += 3600


@pytest.mark.parametrize("hook", ["on_steps", "on_epoch"])
def test_a_time_limit(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, limit = Clock(hook, monkeypatch), TimeLimit(2.5 * 3600)
    done = {"on_steps": (2, 3), "on_epoch": (3, 0)}[hook]
    for _ in range(2):  # the limit is each run's
        run = fit(clock, limit, epochs=9)
        assert (run.stopped, (run.state.epoch, run.state.position)) == ("interrupted", done)
    assert fit(clock, limit, epochs=2).stopped == "epochs"


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan, "1", True, None])
def test_no_time_limit(seconds: Any) -> None:
    with pytest.raises(InvalidParameterError, match="seconds: expected a finite number above 0; received"):
        TimeLimit(seconds)


# LearningRateSchedule


def test_a_learning_rate_of_ones_own() -> None:
    seen = []

    def function(epoch: int, rate: float) -> Any:
        seen.append((epoch, rate))
        return np.float32(0.25 * epoch)

    run = fit(LearningRateSchedule(function), learning_rate=0.5, schedule="step:every=1,factor=0.5")
    assert seen == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert [record.learning_rate for record in run.history] == [0.25, 0.5, 0.75]
    assert all(type(record.learning_rate) is float for record in run.history)
    plain = fit(learning_rate=0.5, schedule="step:every=1,factor=0.5")
    same = fit(LearningRateSchedule(lambda epoch, rate: 0.5**epoch), learning_rate=0.1)
    np.testing.assert_array_equal(same.params.vector, plain.params.vector)


@pytest.mark.parametrize("rate", [0, -0.1, math.nan, math.inf, None, "0.1"])
def test_no_learning_rate(rate: Any) -> None:
    schedule = LearningRateSchedule(lambda epoch, _: rate if epoch == 2 else 0.1)
    message = f"learning_rate: expected a finite number above 0 from the function for epoch 2; received {rate!r}."
    with pytest.raises(InvalidParameterError) as caught:
        fit(schedule)
    assert str(caught.value) == message


# Interrupt

interrupts = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


class PressAt(StopAt):
    """Presses Ctrl-C at a call of `on_steps`."""

    def on_steps(self, epoch: int, done: int) -> None:
        try:
            super().on_steps(epoch, done)
        except StopTraining:
            os.kill(os.getpid(), signal.SIGINT)


@interrupts
def test_an_interrupt_stops_between_two_batches() -> None:
    before, interrupt = signal.getsignal(signal.SIGINT), Interrupt()
    run = fit(PressAt(2), interrupt, epochs=9)
    assert (run.stopped, run.state.epoch, interrupt.requested) == ("interrupted", 1, True)
    assert signal.getsignal(signal.SIGINT) is before
    assert fit(interrupt).stopped == "epochs"
    assert not interrupt.requested


@interrupts
def test_where_an_interrupt_is_ignored_it_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert fit(PressAt(1), Interrupt()).stopped == "epochs"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@interrupts
def test_a_second_interrupt_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(PressAt(1), PressAt(1), Interrupt())
    assert signal.getsignal(signal.SIGINT) is before


@interrupts
def test_an_interrupt_over_several_runs() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert fit(interrupt).stopped == "epochs"
        assert signal.getsignal(signal.SIGINT) is not before  # the run's end is not that of the block
        os.kill(os.getpid(), signal.SIGINT)
        assert fit(interrupt).stopped == "interrupted"
        assert fit(interrupt).stopped == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_the_handler_is_put_back(error: type[BaseException]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(error):
        fit(Interrupt(), RaiseAt("on_steps", error()))
    assert signal.getsignal(signal.SIGINT) is before
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


@interrupts
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP] if os.name == "posix" else [])
def test_other_signals(number: int) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, number)]
    interrupt = Interrupt(signal.SIGINT, number)
    assert (interrupt.requested, interrupt.exit_code) == (False, 130)

    class Press(Callback):
        def on_steps(self, epoch: int, done: int) -> None:
            for each in (number, number):  # one more does not end the process
                os.kill(os.getpid(), each)

    with interrupt:
        assert fit(Press(), interrupt).stopped == "interrupted"
        assert (interrupt.received, interrupt.exit_code) == (number, 128 + number)
        with pytest.raises(KeyboardInterrupt):  # Ctrl-C does not wait for the saving
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), number)
    assert [signal.getsignal(each) for each in (signal.SIGINT, number)] == before


@interrupts
def test_a_signal_that_is_ignored_stays_so() -> None:
    """As SIGHUP under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt(signal.SIGINT, signal.SIGHUP) as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not interrupt.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_in_another_thread() -> None:
    before, stopped = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Interrupt() as interrupt:
            stopped.append(fit(interrupt).stopped)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert stopped == ["epochs"]
    assert signal.getsignal(signal.SIGINT) is before


def test_another_programs_handler_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    handlers: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: handlers.append(handler))
    assert fit(Interrupt()).stopped == "epochs"
    monkeypatch.undo()
    assert handlers == []


# Progress


def test_progress_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit(Progress(), validation=(X, Y), epochs=2)
    out, err = capsys.readouterr()
    assert out == ""
    speeds = [f"{record.samples_per_second:,.0f} samples/s" for record in run.history]
    assert err.splitlines() == [
        f"epoch {record.epoch}/2  loss {record.loss:.4f}  validation loss {record.validation['loss']:.4f}  "
        f"accuracy {record.validation['accuracy']:.4f}  {speed}"
        for record, speed in zip(run.history, speeds, strict=True)
        if record.validation
    ]


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Pretend that stderr is a terminal; the bars that are made."""
    import rich.progress

    made = []

    class Spy(rich.progress.Progress):
        def __init__(self, *columns: Any, **options: Any) -> None:
            super().__init__(*columns, **options)
            made.append(self)

    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")  # before rich 14 that alone told a terminal
    monkeypatch.setattr("xpnet.training.progress.can_redraw", lambda stream: True)
    monkeypatch.setattr(rich.progress, "Progress", Spy)
    return made


def shown(bar: Any) -> tuple[Any, ...]:
    assert not bar.live.is_started
    (task,) = bar.tasks
    return task.completed, task.total, task.fields["epoch"]


@pytest.mark.parametrize("n_samples", [None, 12])
def test_the_bar(n_samples: int | None, bars: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(n_samples)
    run = fit(progress, validation=(X, Y))
    fit(progress, epochs=2)
    assert [shown(bar) for bar in bars] == [(9, 9, "3/3"), (6, 6, "2/2")]
    (task,) = bars[0].tasks
    last = run.history[-1]
    assert task.description.startswith(f"loss {last.loss:.4f}  val loss ")
    assert task.fields["speed"] == _short_speed(last.samples_per_second)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err


def test_the_speed_before_the_first_epoch_ends(bars: list[Any]) -> None:
    fit(Progress(12), StopAt(1))
    fit(Progress(), StopAt(1))
    assert bars[0].tasks[0].fields["speed"].endswith(" samples/s")
    assert bars[1].tasks[0].fields["speed"] == ""


def test_the_bar_of_a_run_that_ends_early_by_plan_is_full(bars: list[Any]) -> None:
    run = fit(Progress(), epochs=99, learning_rate=0.5, early_stopping="training_loss:patience=1")
    n = len(run.history)
    assert n < 99
    assert shown(bars[0]) == (3 * n, 3 * n, f"{n}/99")


def test_the_bar_of_a_run_that_is_broken_off_is_not(bars: list[Any]) -> None:
    progress = Progress()
    fit(progress, epochs=1)
    fit(progress, StopAt(1))
    fit(progress, StopAt(2))
    with pytest.raises(OSError, match="broken"):
        fit(Progress(), RaiseAt("on_steps", OSError("broken")))
    fit(Progress(), RaiseAt("on_start", StopTraining()))
    with pytest.raises(DivergenceError):
        fit(Progress(), optimizer="sgd", learning_rate=1e300, dtype="float32")
    assert [shown(bar) for bar in bars[1:]] == [
        (3, 9, "1/3"),
        (6, 9, "2/3"),
        (3, 9, "1/3"),
        (0, 9, "1/3"),
        (3, 9, "1/3"),
    ]


# The package


def test_what_is_imported_only_when_used(environment: dict[str, str]) -> None:
    code = "import sys, xpnet; print([name for name in ('rich', 'sklearn', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_they_are_the_packages() -> None:
    import xpnet
    from xpnet.training import callbacks, checkpoint_file

    for name in ("Interrupt", "LearningRateSchedule", "TimeLimit"):
        assert getattr(xpnet, name) is getattr(callbacks, name)
    for name in ("load_state", "save_state"):
        assert getattr(xpnet, name) is getattr(checkpoint_file, name)
    assert (xpnet.Checkpoint, xpnet.MetricsFile, xpnet.Progress) == (Checkpoint, MetricsFile, Progress)
    assert {"Checkpoint", "MetricsFile", "Progress", "load_state", "save_state"} <= set(xpnet.__all__)


class FakeIPython(ModuleType):
    """IPython as the bar uses it: a shell with a kernel, and displays that are drawn anew."""

    def __init__(self, *, has_kernel: bool) -> None:
        super().__init__("IPython")
        self.drawn: list[str] = []
        shell = SimpleNamespace(kernel=object()) if has_kernel else SimpleNamespace()
        self.get_ipython = lambda: shell
        self.display = SimpleNamespace(HTML=str, display=self._display)

    def _display(self, html: str, *, display_id: bool) -> Any:
        assert display_id
        self.drawn.append(html)
        return SimpleNamespace(update=self.drawn.append)


def test_a_notebook_shows_the_bar_in_its_cell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ipython = FakeIPython(has_kernel=True)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    run = fit(Progress(12), validation=(X, Y))
    assert '<progress value="9" max="9"></progress>' in ipython.drawn[-1]
    assert f"loss {run.history[-1].loss:.4f}" in ipython.drawn[-1]
    assert len(ipython.drawn) < 9  # drawn by time, not by step
    assert capsys.readouterr() == ("", "")


def test_a_shell_without_a_notebook_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ipython = FakeIPython(has_kernel=False)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    fit(Progress(), epochs=2)
    assert not ipython.drawn
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("validation", [None, (X, Y)])
def test_metrics_are_read_again(tmp_path: Path, validation: Any) -> None:
    path = tmp_path / "metrics.jsonl"
    run = fit(MetricsFile(path), validation=validation)
    assert read_metrics(path) == list(run.history)
    with path.open("ab") as file:
        file.write(b'{"epoch": 4, "lo')  # killed while it wrote
    assert read_metrics(path) == list(run.history)
    path.write_text(
        '{"epoch": 1, "loss": null, "validation": null, "learning_rate": 1, "seconds": 1, "samples_per_second": 2}\n'
    )
    (record,) = read_metrics(path)
    assert math.isnan(record.loss)


@pytest.mark.parametrize("text", ["[]", "{}", "x", '{"epoch": "a"}', "1", "[" * 10_000])
def test_what_is_no_file_of_metrics_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{text}\n")
    with pytest.raises(DataError, match="expected the metrics of a run"):
        read_metrics(path)


@pytest.mark.parametrize(
    ("speed", "text"), [(3.14159, "3.14"), (999.4, "999"), (29_981, "30k"), (1_234_567, "1.23M"), (45_600, "45.6k")]
)
def test_the_speed_in_a_bar_is_short(speed: float, text: str) -> None:
    assert _short_speed(speed) == f"{text} samples/s"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_bar_fits_its_terminal(columns: int, bars: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    fit(Progress(12), epochs=300, validation=(X, Y), metrics=("balanced_accuracy", "f1"))
    (bar,) = bars
    assert bar.tasks[0].description.count("  ") == 2  # loss, validation loss, and the metric that was asked for last
    from rich.console import Console

    drawn = Console(width=columns, file=io.StringIO(), color_system=None)
    drawn.print(bar.get_renderable())
    (line,) = drawn.file.getvalue().splitlines()
    assert "…" not in line
    assert len(line) <= columns
    assert ("samples/s" in line) == (columns > 80)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (0.97222, "0.9722"), (12.3456, "12.3456"), (0.0123456, "0.01235"), (1.23456e-7, "1.235e-07"),
     (-0.5, "-0.5000"), (54321.9, "5.432e+04")],
)  # fmt: skip
def test_figures_have_significant_digits(value: float, text: str) -> None:
    assert figure(value) == text
