"""What launchers such as mpirun and srun tell each process that they start, by environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["is_launched", "launched_size"]

# The number of processes: Open MPI's mpirun; MPICH's and Intel MPI's, and srun with PMI; srun. A batch script that
# Slurm starts, or its interactive shell, has none of them or 1: srun sets the number for each step of a job.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


def launched_size(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of processes that a launcher started together with this one; 1 without a launcher.

    Examples
    --------
    >>> launched_size({"OMPI_COMM_WORLD_SIZE": "4"}), launched_size({"SLURM_NTASKS": "4"})
    (4, 1)
    """
    sizes = [int(value) for name in _SIZES if (value := environment.get(name, "")).isdecimal()]
    # mpirun within a step of srun sets its own; its processes inherit those of the step.
    return sizes[0] if sizes else 1


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a launcher such as mpirun or srun started this process together with others."""
    return launched_size(environment) > 1
