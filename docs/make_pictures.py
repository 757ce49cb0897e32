"""Draw the README's picture of a run: the real output of a real command, as an SVG."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).parent
COMMAND = ["train", "digits", "--out", "run"]


def terminal_output(columns: int) -> str:
    """Run the command in a pseudo-terminal of that width, and return the screen's last lines."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "xpnet", *COMMAND], cwd=folder, env=environment, stdout=follower, stderr=follower
        )
        os.close(follower)
        chunks = []
        while True:
            try:
                chunks.append(os.read(leader, 4096))
            except OSError:  # Linux reports the end of a terminal so
                break
        process.wait()
    # What is drawn over is not on the screen: keep what follows the last return to the line's start.
    lines = b"".join(chunks).decode().replace("\r\n", "\n").split("\n")
    return "\n".join(line.rsplit("\r", 1)[-1].replace("\x1b[2K", "").replace("\x1b[?25h", "") for line in lines)


def main() -> None:
    """Write ``run.svg`` beside this file."""
    console = Console(record=True, width=80, file=open(os.devnull, "w"))  # noqa: SIM115 - lives as long as the console
    console.print(Text("$ xpnet " + " ".join(COMMAND), style="bold"))
    console.print(Text.from_ansi(terminal_output(80)))
    console.save_svg(str(FOLDER / "run.svg"), title="xpnet")


if __name__ == "__main__":
    main()
