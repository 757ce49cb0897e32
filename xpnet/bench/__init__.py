"""An honest comparison of devices and libraries: the same training, timed in interleaved rounds."""

from xpnet.bench.workloads import LADDER, Rung

__all__ = ["LADDER", "Rung"]
