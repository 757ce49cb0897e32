"""Cut the rows of a CSV file into parts byte for byte, so that every competitor reads the same awkward file."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Sequence

from table_list import CLASSES, Table


def records(data: bytes) -> list[bytes]:
    """Return the rows of a CSV file with their line ends; a quoted cell may contain line ends."""
    rows, row = [], b""
    for line in data.splitlines(keepends=True):
        row += line
        if row.count(b'"') % 2 == 0:
            rows.append(row)
            row = b""
    return [each for each in rows if each.strip()]


def cells(row: bytes, table: Table) -> list[str]:
    """Return the cells of a row."""
    assert table.delimiter is not None
    return next(csv.reader(row.decode("utf-8-sig").splitlines(keepends=True), delimiter=table.delimiter))


def choose(labels: Sequence[str], fraction: float, seed: int) -> set[int]:
    """Draw a fraction of the rows, of each label by itself. A label with few rows may have none among them."""
    rng = random.Random(seed)
    groups: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        groups[label].append(i)
    chosen: set[int] = set()
    for label in sorted(groups):
        chosen.update(rng.sample(groups[label], round(fraction * len(groups[label]))))
    return chosen


def cut(data: bytes, table: Table, fraction: float, seed: int) -> tuple[bytes, bytes]:
    """Return a training part and a held-out part, each with the header, in the order of the file."""
    rows = records(data)
    header, rows = (rows[:1], rows[1:]) if table.header else ([], rows)
    labels = [""] * len(rows)
    if table.task == CLASSES:
        column = cells(header[0], table).index(table.target) if header else int(table.target) - 1
        labels = [cells(row, table)[column] for row in rows]
    held = choose(labels, fraction, seed)
    return (
        b"".join([*header, *(row for i, row in enumerate(rows) if i not in held)]),
        b"".join([*header, *(row for i, row in enumerate(rows) if i in held)]),
    )
