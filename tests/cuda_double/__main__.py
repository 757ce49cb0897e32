"""``python -m tests.cuda_double -m MODULE ...`` or ``... SCRIPT ...``: run a program with the double of CuPy."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tests import cuda_double
from xpnet.backend import devices


def main() -> None:
    """Run the program that the arguments name."""
    del sys.argv[0]
    if not sys.argv:
        sys.exit("usage: python -m tests.cuda_double (-m MODULE | SCRIPT) ...")
    cuda_double.install()
    vars(devices)["has_driver"] = lambda name: True  # else `auto` does not look for the library
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
