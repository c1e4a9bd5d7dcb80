"""A sweep's table: one row a session, every setting a column, as Parquet and CSV.

What the same settings give again is in table.csv and table.parquet; how long it took, which they do
not, is in timing.csv. The Parquet file carries a SHA-256 of its rows, so that a damaged one is not
read; the CSV file is for people and may be changed by hand.
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qlrjax import files
from qlrjax.lab import learned, sweepfile
from qlrjax.lab import rows as row_rules
from qlrjax.lab.sweepfile import Task
from qlrjax.names import printable

CSV, PARQUET, TIMING = "table.csv", "table.parquet", "timing.csv"
Row = dict[str, Any]
_FILE_BYTES_AT_MOST, _CELLS_AT_MOST = 2**26, 10**7
_DIGEST = b"qlrjax.sha256"


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
    columns = pyarrow.Table.from_pylist(found)
    signed = columns.replace_schema_metadata({_DIGEST: _digest(columns.to_pylist())})
    parquet.write_table(signed, buffer)
    files.write_atomic(folder / PARQUET, buffer.getvalue())
    timing = [{"task": task.id} | done[task.id]["timing"] for task in tasks if task.id in done]
    files.write_atomic(folder / TIMING, csv_text(timing))


def read(folder: Path) -> list[Row]:
    """The rows of a sweep's table, as `rows` gave them.

    Args:
        folder: The sweep's, or the path of one of its tables.

    Raises:
        ValueError: There is no table, none that can be read, or one of something else.
    """
    import pyarrow

    path = folder / PARQUET if folder.is_dir() else folder
    try:
        data = files.read(path, _FILE_BYTES_AT_MOST)
        found = _read_csv(data) if path.suffix == ".csv" else _read_parquet(data)
        if not found:
            raise ValueError("it has no rows")
        for row in found:
            row_rules.check(row)
        return found
    except FileNotFoundError as error:
        raise ValueError(
            f"{printable(path)} is not there; give the folder of a sweep with a finished session"
        ) from error
    except (OSError, ValueError, csv.Error, pyarrow.ArrowException, RecursionError) as error:
        raise ValueError(f"{printable(path)} is not a sweep's table: {error}") from error


def csv_text(table: Sequence[Row]) -> str:
    """Rows as CSV; all of their columns, in the order in which they first come."""
    columns = list(dict.fromkeys(name for row in table for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _read_csv(data: bytes) -> list[Row]:
    file = io.StringIO(data.decode("utf-8"), newline="")
    return [
        {name: _value(text) for name, text in row.items() if name} for row in csv.DictReader(file)
    ]


def _read_parquet(data: bytes) -> list[Row]:
    import pyarrow
    from pyarrow import parquet

    about = parquet.read_metadata(pyarrow.BufferReader(data))
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    if about.num_rows * about.num_columns > _CELLS_AT_MOST or size > _FILE_BYTES_AT_MOST:
        raise ValueError(f"it has {about.num_rows} rows and {about.num_columns} columns")
    columns = parquet.read_table(pyarrow.BufferReader(data))
    found = columns.to_pylist()
    noted = (columns.schema.metadata or {}).get(_DIGEST)
    if noted is not None and noted != _digest(found):
        raise ValueError("its rows do not have the digest noted for them; qlrjax sweep writes them")
    return found


def _digest(table: Sequence[Row]) -> bytes:
    return hashlib.sha256(csv_text(table).encode()).hexdigest().encode()


def _value(text: str | None) -> Any:
    """A cell as the value it was: numbers and booleans as such."""
    if text is None:  # a line with fewer cells
        return None
    if text in ("True", "False"):
        return text == "True"
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text
