"""`qlrjax hw kernel` and `qlrjax hw loop`: what the RTL tables have, one row or a whole table."""

import csv
import dataclasses
import io
import json as js
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro
from pulpsim.cost import platform
from pulpsim.cost.chip import FpuMap

from qlrjax import files
from qlrjax.cli import hw_show

_FILE_BYTES_AT_MOST = 2**26
Answers = Callable[[list[dict[str, str]]], tuple[list[dict[str, Any]], list[str]]]


@dataclasses.dataclass(frozen=True)
class KernelCommand:
    """One kernel on one tile, or every row of a table, with the columns of the RTL table.

    Attributes:
        name: Of the kernel, such as p1_2x4.
        shape: As in the table: 32x64x64, C16_10x10, n1024, C32_HW16, N32_17x17.
        cores: Workers.
        fpu: Map of cores to FPUs.
        rows: Instead, a CSV file with the columns kernel, shape, cores and fpu: every row is
            simulated, and the table printed as CSV.
    """

    name: Annotated[str | None, tyro.conf.Positional] = None
    shape: str | None = None
    cores: int = 8
    fpu: FpuMap = "static"
    rows: Path | None = None
    output: Annotated[hw_show.Output, tyro.conf.arg(name="")] = hw_show.AS_TABLE

    def show(self) -> int:
        """Shows the row or rows."""
        if self.rows is not None:
            if self.name is not None or self.shape is not None:
                raise ValueError("--rows names kernels and shapes itself; give one or the other")
            from pulpsim.cluster.table import answers

            return _answer(self.rows, answers, json=self.output.json)
        if self.name is None or self.shape is None:
            raise ValueError(
                "give a kernel and --shape, such as p1_2x4 --shape 32x64x64, or --rows"
            )
        from pulpsim.cluster.simulator import run_kernel
        from pulpsim.kernels import find

        row = dataclasses.asdict(run_kernel(self.name, self.shape, self.cores, self.fpu))
        if self.output.json:
            print(js.dumps(self.output.select([row])[0]))
        else:
            hw_show.print_rows("One kernel on one tile (cycles)", [row], self.output, [])
            if not (self.output.csv or find(self.name).measured):
                print(f"{self.name} is a design without RTL rows of its own.")
        return 0


@dataclasses.dataclass(frozen=True)
class LoopCommand:
    """Double-buffered tile loops, the DMA beside the cores: every row of a table.

    Attributes:
        rows: A CSV file with columns of the RTL table of tile loops: kernel, tile_shape, tiles,
            cores, l2_latency, transfers_per_tile_in, transfers_per_tile_out and, where they
            matter, l2_duplex, stationary_prologue, post and l1_bytes.
        platform: Name of a shipped platform, or the path of a .toml file.
    """

    rows: Path
    platform: str = "vega"
    output: Annotated[hw_show.Output, tyro.conf.arg(name="")] = hw_show.AS_TABLE

    def show(self) -> int:
        """Shows the rows."""
        from pulpsim.cost.tile_rows import answers

        chip = platform.load(self.platform)
        if chip.dma is None:
            raise ValueError(
                f"{chip.name} has no DMA beside its cores; choose vega, gap9 or pulp-open"
            )
        return _answer(self.rows, lambda rows: answers(rows, chip), json=self.output.json)


def _answer(path: Path, answers: Answers, *, json: bool) -> int:
    """Prints the answers to every row of a file, as CSV or JSON.

    Args:
        path: CSV with a header.
        answers: Rows in, rows out, and why some of them have no figures.
        json: Print JSON instead of CSV.

    Returns:
        0, or 2 where a row has no figures; stderr then says which and why.

    Raises:
        ValueError: The file is no table, or is empty.
    """
    found, refused = answers(_read(path))
    print(js.dumps({"rows": found}, indent=1) if json else hw_show.csv_text(found), end="")
    if json:
        print()
    for line in refused:
        print(f"qlrjax hw: {path}: {line}", file=sys.stderr)
    return 2 if refused else 0


def _read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file by column.

    Raises:
        ValueError: It is no text, or has no row.
        OSError: It cannot be read.
    """
    try:
        text = io.StringIO(files.read(path, _FILE_BYTES_AT_MOST).decode(), newline="")
        rows = [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(text)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV table ({error}); save it as CSV in UTF-8") from None
    if not rows:
        raise ValueError(f"{path} has no rows below its header; give at least one")
    return rows
