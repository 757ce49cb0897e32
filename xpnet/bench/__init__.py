"""Comparison of devices and libraries: all do the same training, and are timed in interleaved rounds."""

from xpnet.bench.workloads import WORKLOADS, Workload

__all__ = ["WORKLOADS", "Workload"]
