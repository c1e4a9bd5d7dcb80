"""`qlrjax report`: one self-contained HTML file of a run or a sweep."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from qlrjax import files
from qlrjax.cli.arguments import parse_arguments
from qlrjax.lab.page import assemble
from qlrjax.names import printable
from qlrjax.runs import outside


@dataclasses.dataclass(frozen=True)
class ReportArguments:
    """Write a report that anybody can open, without a network.

    Attributes:
        folder: A run's or a sweep's.
        out: The .html file.
        platform: Chip that costs are simulated on: a name, or the path of a .toml file.
        force: Replace a file that is there already; an earlier report is replaced anyway.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    out: Path = Path("report.html")
    platform: str = "vega"
    force: bool = False


def main(words: Sequence[str]) -> int:
    """Writes the file and says where it is."""
    arguments = parse_arguments(ReportArguments, words, "qlrjax report")
    if not arguments.folder.is_dir():
        raise ValueError(f"{printable(arguments.folder)} is not a folder; name a run or a sweep")
    outside.check_file(arguments.out, arguments.force, assemble.START.encode())
    if (arguments.folder / "sweep.toml").is_file():
        from qlrjax.lab.page import of_sweep as source
    else:
        from qlrjax.lab.page import of_run as source
    text = source.page(arguments.folder, arguments.platform)
    files.write_atomic(arguments.out, text)
    print(f"{printable(arguments.out)}: {len(text.encode()) / 1e6:.1f} MB, opens without a network")
    return 0
