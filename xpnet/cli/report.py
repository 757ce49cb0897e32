"""``xpnet report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from xpnet.cli.finished_run import open_finished_run
from xpnet.cli.folder import REPORT, RunFolder
from xpnet.cli.latest_run import run_folder
from xpnet.cli.table_options import ReadingOptions, parse_int
from xpnet.files import write_output
from xpnet.threads import limit_threads

__all__ = ["report"]

_READING = ReadingOptions()


def report(
    run: Path,
    data: str | None = None,
    *,
    out: Path | None = None,
    threads: Annotated[int | None, Parameter(converter=parse_int)] = None,
    data_dir: Path | None = None,
    reading: ReadingOptions = _READING,
) -> int:
    """Make the report of a run again, or that of other data: one HTML page with scores and pictures.

    Parameters
    ----------
    run : Path
        Folder of a run that has ended.
    data : str
        A file with features and target, or a named data set [default: the data of the run, and their parts]
    out : Path
        HTML file to write [default: report.html in the folder of the run]
    threads : int
        Threads for BLAS and everything else [default: all processors]
    data_dir : Path
        Folder with the IDX files of mnist or fashion-mnist.
    """
    from xpnet.report.sections import report_page

    run = run_folder(run)
    with limit_threads(threads), RunFolder(run, is_new=False) as folder:
        folder.open_run()
        page = report_page(open_finished_run(run, data, data_dir=data_dir, reading=reading))
        if out is None:
            out = folder.write(REPORT, page)
        else:
            write_output(out, page)
    print(out)
    return 0
