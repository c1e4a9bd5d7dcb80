"""What a row of a sweep's table has to be; anybody may have written the file it comes from."""

import json
import math
from collections.abc import Mapping
from typing import Any

from qlrjax import settings as settings_file
from qlrjax.lab import sweepfile
from qlrjax.names import printable
from qlrjax.settings import Settings

_IMAGES_AT_MOST = 10**9
_CLASSES_AT_MOST = 10**6
_TEXT_AT_MOST = 10_000
# Whole numbers among the figures, and their ranges.
_COUNTS = {
    "images_first_event": (1, _IMAGES_AT_MOST),
    "images_later_event": (0, _IMAGES_AT_MOST),
    "classes": (1, _CLASSES_AT_MOST),
    "events": (1, _IMAGES_AT_MOST),
    "test_images": (0, _IMAGES_AT_MOST),
}
# Every setting by its dotted name, as a table has it.
_SETTINGS = sweepfile.flat(Settings())
_LISTS = tuple(k for k, v in sweepfile.flat(Settings(), as_text=False).items() if type(v) is list)


def check(row: Mapping[str, Any]) -> None:
    """Refuses a row whose settings are impossible, or whose figures are none.

    Columns that this version does not know are left alone.

    Raises:
        ValueError: The column is named.
    """
    values = {name: row[name] for name in _SETTINGS if name in row}
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"column {name} holds {value}")
        if isinstance(value, str) and len(value) > _TEXT_AT_MOST:
            raise ValueError(f"column {name} holds {len(value)} characters")
        if name in _LISTS and isinstance(value, str):
            values[name] = json.loads(value)
    settings_file.from_dict(sweepfile.nested(values))
    check_figures(row)


def check_figures(row: Mapping[str, Any]) -> None:
    """Refuses figures that no session came to.

    Raises:
        ValueError: The column is named.
    """
    if "accuracy_percent" not in row:
        raise ValueError("the table has no column 'accuracy_percent'; is it a sweep's?")
    for name, (low, high) in _COUNTS.items():
        value = row.get(name, low)
        if type(value) is not int or not low <= value <= high:
            raise _wrong(name, value, f"a whole number from {low} to {high}")
    accuracy = row["accuracy_percent"]
    if type(accuracy) not in (int, float) or not 0 <= accuracy <= 100:
        raise _wrong("accuracy_percent", accuracy, "percent")
    data = row.get("data", "")
    if not isinstance(data, str) or len(data) > _TEXT_AT_MOST:
        raise _wrong("data", data, "the name of the data")


def _wrong(name: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"column {name} holds {printable(repr(value), 60)}, which is not {wanted}")
