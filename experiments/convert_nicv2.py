"""Makes the shipped NICv2 orders from a CSV of them.

Source: the official file lists of CORe50's NICv2 scenarios (79, 196, 391 events, runs 0 to 9), in
which every event is a set of whole (session, object) pairs; the CSV has the columns scenario, run,
event, session, object, frames.

    python experiments/convert_nicv2.py nicv2_orders.csv src/qlrjax/assets/nicv2_orders.npz
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from qlrjax import report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    rows: dict[str, list[tuple[int, int, int]]] = {}
    frames = np.zeros((12, 51), np.int16)
    with arguments.csv.open(newline="") as file:
        for row in csv.DictReader(file):
            event, session, item = (int(row[key]) for key in ("event", "session", "object"))
            rows.setdefault(f"{row['scenario']}/{row['run']}", []).append((event, session, item))
            frames[session, item] = int(row["frames"])
    arrays = {name: np.array(values, np.int16) for name, values in rows.items()}
    report.write_npz(arguments.out, {**arrays, "frames": frames})


if __name__ == "__main__":
    main()
