"""The data of a training run that is a table in a file: what its columns are, and its parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.cli.job_data import PARTS, JobData, RawPart, moments_of
from xpnet.cli.memory_limit import MemoryLimit, data_bytes
from xpnet.cli.options import ColumnOptions, TrainOptions
from xpnet.data.scaling import Moments
from xpnet.data.split import split_rows
from xpnet.data.streams import Source, split_source
from xpnet.data.tables.survey import Survey, survey_table
from xpnet.data.targets import encode_targets
from xpnet.errors import DataError, InvalidParameterError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_table"]


def read_table(data: str, options: TrainOptions, scale: str | None, limit: MemoryLimit | None) -> JobData:
    """Read a table into memory, or in pieces if memory would exceed the limit; a folder of tables always in pieces."""
    file = open_table(data, options)
    ...
