"""``python -m xpnet``."""

import sys

from xpnet.cli import main

__all__: list[str] = []

sys.exit(main())
