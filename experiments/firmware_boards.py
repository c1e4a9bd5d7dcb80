"""Which of the paper's settings fit which board, and why the others do not.

Source: Ravaglia et al. 2021 learn MobileNet-V1 of width 1.0 at 128x128 from latent layers 19 to 27
with 1,500 replays of 7 or 8 bits, mini-batches of 128 and events of 300 images. The firmware's
planner places every buffer; nothing is compiled.

    PYTHONPATH=tests .venv/bin/python experiments/firmware_boards.py

Expected: netduinoplus2 takes width 0.25 at l = 27 only; two minutes.
"""

import dataclasses

from support import firmware

from qlrjax.export.firmware import planner, shape, target
from qlrjax.training.protocol import Protocol

BOARDS = ("netduinoplus2", "mps2-an386", "rv32-virt")
# width, pixels, latent layer, replays, bits, images an event, classes
SETTINGS = (
    (0.25, 96, 27, 100, 6, 50, 10),
    (0.25, 96, 25, 100, 6, 50, 10),
    (0.25, 128, 25, 1500, 7, 300, 50),
    (1.0, 128, 27, 1500, 8, 300, 50),
    (1.0, 128, 25, 1500, 7, 300, 50),
    (1.0, 128, 23, 1500, 7, 300, 50),
    (1.0, 128, 19, 1500, 7, 300, 50),
)


def main() -> None:
    """Prints the table, then the sentences of what does not fit."""
    print("| width | pixels | l | replays | bits | images an event | " + " | ".join(BOARDS) + " |")
    print("|--:|--:|--:|--:|--:|--:|" + "---|" * len(BOARDS))
    refused = []
    for width, pixels, layer, slots, bits, images, classes in SETTINGS:
        protocol = dataclasses.replace(Protocol(draws="portable"), minibatch=128)
        twin = firmware.Twin(
            layer, bits, protocol, slots=slots, size=(pixels, pixels), classes=classes, width=width
        )
        sizes = shape.of_session(twin.firmware(), images)
        cells = []
        for board in BOARDS:
            try:
                plan = planner.plan(sizes, target.load(board))
            except ValueError as error:
                cells.append("no")
                refused.append(f"- width {width:g}, l = {layer}: {error}")
                continue
            rows = {
                kind: sum(one.bytes for one in plan.buffers if one.kind == kind)
                for kind in ("tables", "state")
            }
            more = plan.macs / plan.least_macs - 1
            cells.append(
                f"{rows['state'] / 1024:,.0f} KiB of RAM, {rows['tables'] / 1024:,.0f} "
                f"of tables, {more:.0%} more MACs"
            )
        print(
            f"| {width:g} | {pixels} | {layer} | {slots:,} | {bits} | {images} | "
            + " | ".join(cells)
            + " |"
        )
    print("\n" + "\n".join(refused))


if __name__ == "__main__":
    main()
