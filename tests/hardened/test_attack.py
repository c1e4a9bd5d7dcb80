"""`make attack` in small: a few of each kind, none of which may succeed."""

import numpy as np
import pytest
from attack import damages, images, imports, prey, tally


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return prey.make(tmp_path_factory.mktemp("attack"))


def clean(counted):
    assert not counted.told
    assert counted.counts.total() > 0
    return counted.counts


@pytest.mark.slow
def test_damages_are_noticed_or_harmless(target):
    generator = np.random.default_rng(0)
    counts = clean(damages.of_run(target, 16, generator))
    assert counts[tally.CAUGHT] > 4
    assert clean(damages.of_export(target, 12, generator))[tally.CAUGHT] > 8
    assert clean(damages.of_frames(target, 20, generator))[tally.CAUGHT] > 8


@pytest.mark.slow
def test_imports_of_liars_are_refused_or_sound(target):
    assert clean(imports.attack(target, 30, np.random.default_rng(0)))[tally.CAUGHT] > 15


def test_fuzzed_images_are_pixels_or_a_sentence():
    kinds = list(images.samples())
    outcomes = [images.one(number, 0, kinds).split(" ") for number in range(400)]
    wrong = [outcome for outcome in outcomes if outcome[1] not in ("caught", "harmless")]
    assert not wrong
    assert {kind for kind, outcome in outcomes if outcome == "harmless"} >= {"jpeg", "bmp", "tiff"}


def test_formats_that_no_camera_writes_are_not_even_tried():
    """Pillow would hand an EPS to Ghostscript, whatever the file is called."""
    for kind, data in images.samples():
        if kind in ("eps", "ico", "pcx", "tga", "ppm", "pdf", "jpeg2000", "dds", "sgi"):
            with pytest.raises(ValueError, match="is damaged or is no image"):
                images.photos.decode(data, "photo x.jpg", (8, 8))


def test_a_tally_counts_and_tells():
    counted = tally.Tally("one")
    counted.add(tally.CAUGHT, "a")
    counted.add(tally.SILENT, "b")
    assert counted.row == ["one", "2", "1", "0", "1", "0"]
    assert counted.told == ["one: silent: b"]
    assert tally.table([counted]).splitlines()[-1] == "| all | 2 | 1 | 0 | 1 | 0 |"
