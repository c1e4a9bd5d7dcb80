"""A sweep's table: one row a session, every setting a column, as Parquet and CSV.

What the same settings give again is in table.csv and table.parquet; how long it took, which they do
not, is in timing.csv.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qlrjax import files
from qlrjax.lab import learned, sweepfile
from qlrjax.lab.sweepfile import Task
from qlrjax.names import printable

CSV, PARQUET, TIMING = "table.csv", "table.parquet", "timing.csv"
Row = dict[str, Any]


def rows(tasks: Sequence[Task], done: Mapping[str, learned.Result]) -> list[Row]:
    """A row for every session that is finished, in the order of the tasks."""
    return [
        {"task": task.id, "case": task.case, **sweepfile.flat(task.settings)}
        | done[task.id]["figures"]
        for task in tasks
        if task.id in done
    ]


def write(folder: Path, tasks: Sequence[Task], done: Mapping[str, learned.Result]) -> None:
    """Writes the tables, each as a whole; none before the first session is finished.

    Raises:
        OSError: One could not be written.
    """
    found = rows(tasks, done)
    if not found:
        return
    import pyarrow  # takes half a second
    from pyarrow import parquet

    files.write_atomic(folder / CSV, csv_text(found))
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(found), buffer)
    files.write_atomic(folder / PARQUET, buffer.getvalue())
    timing = [{"task": task.id} | done[task.id]["timing"] for task in tasks if task.id in done]
    files.write_atomic(folder / TIMING, csv_text(timing))


def read(folder: Path) -> list[Row]:
    """The rows of a sweep's table, as `rows` gave them.

    Args:
        folder: The sweep's, or the path of one of its tables.

    Raises:
        ValueError: There is no table, or none that can be read.
    """
    import pyarrow
    from pyarrow import parquet

    path = folder / PARQUET if folder.is_dir() else folder
    try:
        if path.suffix == ".csv":
            return _read_csv(path)
        return parquet.read_table(path).to_pylist()
    except FileNotFoundError as error:
        raise ValueError(
            f"{printable(path)} is not there; give the folder of a sweep with a finished session"
        ) from error
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(f"{printable(path)} is not a sweep's table: {error}") from error


def csv_text(table: Sequence[Row]) -> str:
    """Rows as CSV; all of their columns, in the order in which they first come."""
    columns = list(dict.fromkeys(name for row in table for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _read_csv(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> Any:
    """A cell as the value it was: numbers and booleans as such."""
    if text in ("True", "False"):
        return text == "True"
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text
