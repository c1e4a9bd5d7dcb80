"""Writes the firmware's folder: hand-written sources, generated tables, and what they take."""

import json
from importlib import resources
from pathlib import Path

from qlrjax import files
from qlrjax.export.firmware import board, config, planner, sizes, tables
from qlrjax.export.firmware.planner import Plan
from qlrjax.export.firmware.session import FirmwareSession
from qlrjax.export.firmware.shape import of_session
from qlrjax.export.firmware.target import Target


def export(folder: Path, session: FirmwareSession, target: Target, event_max: int) -> Plan:
    """Writes the folder.

    Args:
        folder: Created if missing; files of the same names are replaced.
        session: What to export.
        target: For which device.
        event_max: Images that may wait for one event.

    Returns:
        Where everything lies.

    Raises:
        ValueError: It does not fit; the sentence names the largest buffer and what would fit.
    """
    if not 1 <= event_max <= 65535 - session.state.memory.slots:
        raise ValueError(
            f"{event_max} images an event are not possible beside {session.state.memory.slots} "
            "replays; choose 1 to 65,535 together"
        )
    shape = of_session(session, event_max)
    plan = planner.plan(shape, target)
    body = tables.tables(session, shape, plan)
    texts = {
        "src/qlr_tables.c": body,
        "src/qlr_config.h": config.config(session, shape, plan, body),
        **board.texts(target),
    }
    sources = resources.files("qlrjax.export.firmware") / "sources"
    for source in sources.iterdir():
        if source.name.endswith((".c", ".h")):
            texts[f"src/{source.name}"] = source.read_text(encoding="utf-8")
    for name, content in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(folder / name, content)
    files.write_atomic(folder / "SIZES.md", sizes.markdown(plan) + "\n")
    files.write_atomic(folder / "sizes.json", json.dumps(sizes.record(plan), indent=1) + "\n")
    return plan
