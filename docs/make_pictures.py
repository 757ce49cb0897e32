"""Draw `run.svg`, the picture in the README: the real output of a real command.

Run it as ``python docs/make_pictures.py``, on Linux or macOS.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).parent
COMMAND = ["train", "digits", "--out", "run"]
COLUMNS = 80
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono"  # rich adds monospace


def terminal_output(columns: int) -> str:
    """Run the command in a pseudo-terminal of this width, and return what the screen shows at the end."""
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
            except OSError:  # Linux reports the end of a pseudo-terminal as an error
                break
        process.wait()
    # The progress bar overwrites its line: keep the text after the last carriage return.
    lines = b"".join(chunks).decode().replace("\r\n", "\n").split("\n")
    return "\n".join(line.rsplit("\r", 1)[-1].replace("\x1b[2K", "").replace("\x1b[?25h", "") for line in lines)


def standalone(svg: str) -> str:
    """Return an SVG that loads no font from the network; web pages that show it would block the request."""
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code", FONTS)


def main() -> None:
    """Write ``run.svg`` into the folder of this file."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        console.print(Text("$ xpnet " + " ".join(COMMAND), style="bold"))
        console.print(Text.from_ansi(terminal_output(COLUMNS).rstrip()))
        console.print()  # room below the last line
        svg = console.export_svg(title="xpnet", unique_id="xpnet")
    (FOLDER / "run.svg").write_text(standalone(svg), encoding="utf-8")


if __name__ == "__main__":
    main()
