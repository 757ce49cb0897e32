"""``python -m xpnet``."""

import sys

__all__: list[str] = []

if not sys.flags.safe_path:
    del sys.path[0]  # the working folder, which holds data: a file such as numpy.py in it is not to be run

from xpnet.cli import main

sys.exit(main())
