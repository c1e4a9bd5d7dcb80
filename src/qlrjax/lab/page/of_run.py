"""The report of one run: what it learned, what it says of photos, what an event costs."""

import base64
import html
import io
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pulpsim.cost import platform
from pulpsim.event import event
from pulpsim.event.event import EventCost
from pulpsim.event.setting import EventSetting

from qlrjax import metrics
from qlrjax import settings as settings_file
from qlrjax.lab.page import assemble, chip, learned
from qlrjax.lab.page.assemble import Section
from qlrjax.names import printable
from qlrjax.runs import checkpoint, history, lessons, marker
from qlrjax.runs.opened import OpenRun, open_run
from qlrjax.streams.open import open_stream
from qlrjax.streams.stream import Stream

_PHOTOS = 24
_SIDE = 108


def page(folder: Path, chip_name: str = "vega") -> str:
    """The page of a run, finished or not.

    Args:
        folder: The run's.
        chip_name: Platform that costs are simulated on.

    Raises:
        ValueError: The folder holds no run that has learned something.
    """
    run = open_run(folder)
    found = history.read(folder)
    records = [record for record in run.records if "event" in record]
    matrix, introduced = np.asarray(run.state.accuracy), np.asarray(run.state.introduced)
    sections = [_summary(run, records, matrix, introduced)]
    figures = [
        learned.curves(records, matrix, introduced),
        learned.heat(matrix, introduced, run.class_names),
    ]
    if any(moment.confusion for moment in found.values()):
        figures.append(learned.confusion(found, run.class_names))
    if any(moment.replays for moment in found.values()):
        figures.append(learned.replays(found, run.class_names))
    body = "" if found else "<p>This run was learned before histories were kept: no confusion.</p>"
    sections.append(Section("What it learned", tuple(figures), body))
    sections.append(Section("What it says of test images", (), _photos(run)))
    sections.append(_costs(run, records, chip_name))
    sections.append(_provenance(folder, run))
    lead = f"{len(records)} of {run.facts.events} events learned; accuracy is measured, costs are "
    return assemble.page(f"Run {printable(folder.name)}", lead + "simulated", sections)


def _summary(
    run: OpenRun, records: Sequence[dict], matrix: np.ndarray, introduced: np.ndarray
) -> Section:
    tested = [record for record in records if "accuracy" in record]
    if not tested:
        return Section("In short", (), "<p>No event was tested yet.</p>")
    # Equal counts: only the metrics that do not depend on them are shown.
    found = metrics.standard(matrix, introduced, np.ones(matrix.shape[1], np.int64))
    values = {
        "accuracy on all test images": f"{100 * tested[-1]['accuracy']:.1f} %",
        "ACC, mean over the classes learned so far": f"{found.acc:.1f} %",
        "BWT, backward transfer": f"{found.bwt:+.1f} points",
        "FWT, forward transfer over chance": f"{found.fwt:+.1f} points",
        "forgetting": f"{found.forgetting:.1f} points",
        "LA, learning accuracy": f"{found.learning_accuracy:.1f} %",
        "replay RAM": f"{run.state.learner.memory.bytes / 1e6:.3f} MB",
    }
    return Section("In short", (), assemble.facts(values))


def _photos(run: OpenRun) -> str:
    """Test images and what the run says of them; a sentence where the data is not there."""
    settings = run.settings
    try:
        stream = open_stream(settings.stream, settings.resolution, settings.seed)
        chosen = _spread(stream)
        images = stream.source.read(chosen)
    except (ValueError, OSError) as error:
        return f"<p>The data is not there: {html.escape(str(error))}</p>"
    shares = lessons.probabilities(settings, run.extractor, run.state, images)
    parts = []
    for image, label, share in zip(images, stream.source.labels[chosen], shares, strict=True):
        said = int(share.argmax())
        kind = "right" if said == label else "wrong"
        names = [html.escape(printable(run.class_names[place], 30)) for place in (said, label)]
        truth = "" if said == label else f"<br>is {names[1]}"
        parts.append(
            f'<div><img alt="{names[1]}" src="{_picture(image)}"><span class="{kind}">{names[0]}'
            f"</span> {100 * share[said]:.0f} %{truth}</div>"
        )
    return f'<div class="photos">{"".join(parts)}</div>'


def _spread(stream: Stream) -> np.ndarray:
    """Test images, as evenly as possible over the classes."""
    labels = stream.source.labels[stream.test]
    rank = np.zeros(len(labels), int)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        rank[mine] = np.arange(len(mine))
    order = np.lexsort((labels, rank))[:_PHOTOS]
    return stream.test[np.sort(order)]


def _picture(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    small = Image.fromarray(image)
    small.thumbnail((_SIDE, _SIDE))
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def cost(run: OpenRun, records: Sequence[dict], chip_name: str) -> EventCost:
    """What one later event of a run costs on a chip.

    Raises:
        ValueError: The chip's model cannot say; the sentence says why.
    """
    cut, settings = run.extractor.cut, run.settings
    images = [record["images"] for record in records[1:]] or [records[0]["images"]]
    setting = EventSetting(
        cut.network,
        cut.latent_layer,
        replays=settings.replays,
        bits=settings.bits,
        images=max(images),
        epochs=settings.protocol.epochs,
        minibatch=settings.protocol.minibatch,
        drop_remainder=settings.protocol.drop_remainder,
        statistics="running" if settings.protocol.normalization == "running" else "minibatch",
    )
    return event.event_cost(setting, platform.load(chip_name))


def _costs(run: OpenRun, records: Sequence[dict], chip_name: str) -> Section:
    try:
        result = cost(run, records, chip_name)
    except ValueError as error:
        sentence = f"<p>Not costed on {html.escape(chip_name)}: {html.escape(str(error))}</p>"
        return Section("What an event costs on a chip", (), sentence)
    notes = "; ".join(chip.rests_on(result)) or "none"
    body = f'<p class="lead">Rests on recalled or assumed figures: {html.escape(notes)}</p>'
    return Section("What an event costs on a chip", chip.figures(result), body)


def _provenance(folder: Path, run: OpenRun) -> Section:
    described = checkpoint.peek(folder / marker.CHECKPOINTS)
    fingerprint = described.fingerprint if described is not None else {}
    command = f"qlrjax run --out {shlex.quote(printable(folder))} --config settings.toml"
    body = (
        f"<p>The same run again, with the settings below as settings.toml:</p>"
        f"{assemble.text(command)}{assemble.text(settings_file.dump(run.settings))}"
        f"<p>Learned with:</p>{assemble.facts(fingerprint)}"
    )
    return Section("Settings, versions, command", (), body)
