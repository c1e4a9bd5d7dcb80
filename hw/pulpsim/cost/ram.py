"""Time of the off-chip RAM, by transactions.

A HyperRAM is asked for one row of bytes at a time: command and address, an initial latency, then
data at the full rate until the row ends, a page ends, or the chip must be released for refresh.
Rows that lie apart are transactions of their own, and a row longer than a page is several. The RAM
is served by a channel of its own: nothing else is assumed to be in its way, and it in nobody's.
"""

from typing import Any

from pulpsim.cost.chip import External
from pulpsim.cost.dma import ceil_div

Numbers = Any


def seconds(rows: Numbers, row_bytes: Numbers, ram: External) -> Numbers:
    """Seconds to read or write rows that lie apart.

    Args:
        rows: How many; a contiguous block is one.
        row_bytes: Bytes of each.
        ram: The device.
    """
    transactions = rows * ceil_div(row_bytes, ram.page_bytes)
    return rows * row_bytes / ram.bytes_per_s + transactions * ram.transaction_s
