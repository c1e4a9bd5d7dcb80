"""What people and programs read of a run."""

import csv
import dataclasses
import io
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qlrjax import report

MATRIX = np.array([[1.0, 0.0, np.nan], [0.5, 1.0, np.nan], [0.25, 0.5, np.nan]], np.float32)
CURVE = report.Curve("two classes", MATRIX, np.array([0, 1, 9]), np.array([4, 4, 0]), "abc")


def test_summary_has_units_and_leaves_out_classes_without_test_images():
    values = json.loads(report.summary_json(CURVE, {"replays": 7}))
    assert values["accuracy_percent"] == 37.5
    assert values["seen_accuracy_percent"] == 37.5
    assert values["forgetting_points"] == (75 + 50) / 2
    assert values["backward_transfer_points"] == -(75 + 50) / 2
    assert values["replays"] == 7


def test_accuracy_csv_reads_back():
    rows = list(csv.reader(io.StringIO(report.accuracy_csv(CURVE))))
    assert rows[0] == ["event", "a", "b", "c"]
    assert [float(row[2]) for row in rows[1:]] == [0.0, 1.0, 0.5]
    assert {row[3] for row in rows[1:]} == {""}


def test_picture_is_a_png_with_a_panel_for_every_curve():
    one = Image.open(io.BytesIO(report.picture([CURVE])))
    three = Image.open(io.BytesIO(report.picture([CURVE] * 3)))
    assert one.format == "PNG"
    assert three.width > one.width + 600


@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=4))
def test_labels_at_the_ends_of_curves_keep_their_distance_and_stay_in_the_picture(heights):
    placed = np.array(report._apart(heights))
    assert placed.min() >= 0
    assert placed.max() <= 100
    order = np.argsort(heights, kind="stable")
    assert (np.diff(placed[order]) >= 5.999).all()
    if len(heights) == 1 and heights[0] <= 100:
        assert placed[0] == heights[0]


def test_names_no_font_can_draw_become_numbers_without_a_warning():
    """pytest makes matplotlib's warning about missing letters an error."""
    private = dataclasses.replace(CURVE, class_names=["\U0010fffd", "b$a$", "ä"])
    families, unknown = report._lettering(private.class_names)
    assert unknown == {"\U0010fffd"}
    assert families == ["DejaVu Sans"]
    assert report._class_names(private.class_names, unknown) == ["class 0", r"b\$a\$", "ä"]
    assert report.picture([private])[:4] == b"\x89PNG"


def test_npz_bytes_depend_on_the_arrays_only(tmp_path):
    arrays = {"b": np.arange(5), "a": np.eye(2, dtype=np.float16)}
    report.write_npz(tmp_path / "1.npz", arrays)
    report.write_npz(tmp_path / "2.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with np.load(tmp_path / "1.npz") as archive:
        np.testing.assert_array_equal(archive["a"], arrays["a"])
