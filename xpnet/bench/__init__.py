"""Comparison of devices and peers (other libraries): all do the same training, timed in interleaved rounds."""

from xpnet.bench.workloads import WORKLOADS, Workload

__all__ = ["WORKLOADS", "Workload"]
