"""What the standard streams can show."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from xpnet.terminal import can_redraw, open_standard_streams


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal() -> None:
    assert can_redraw(Terminal())


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE", "CLICOLOR_FORCE"])
def test_a_variable_makes_no_terminal_of_a_pipe(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not can_redraw(io.StringIO())


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("CI", "1"), ("TERM", "dumb"), ("TERM", "unknown")])
def test_a_terminal_without_a_cursor(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert not can_redraw(Terminal())


def test_ci_may_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "false")
    assert can_redraw(Terminal())


def test_characters_that_a_stream_cannot_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    open_standard_streams()
    print("д\udcff", flush=True)
    assert written.getvalue() == b"\\u0434\\udcff\n"


@pytest.mark.subprocess
@pytest.mark.skipif(os.name != "posix", reason="descriptors are inherited")
def test_closed_streams() -> None:
    code = (
        "import os, sys\n"
        "from xpnet.terminal import open_standard_streams\n"
        "open_standard_streams()\n"
        "first = os.open(os.devnull, os.O_RDONLY)\n"
        "print('out'); print('err', file=sys.stderr)\n"
        "sys.exit(first < 3)\n"
    )

    closed = 'exec "$0" -c "$1" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", closed, sys.executable, code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("given", "used"),
    [("0", "80"), ("1", "20"), ("19", "20"), ("20", "20"), ("300", "300"), ("99999999999", "1000"), ("x", "x")],
)
def test_text_is_wrapped_to_a_width_that_can_be_read(given: str, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    monkeypatch.setenv("COLUMNS", given)
    open_standard_streams()
    assert os.environ["COLUMNS"] == used
