# SPDX-License-Identifier: Apache-2.0
"""The picture: well-formed, with a dot for each contender, placed by its median."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from benchmarks.interleave import A_SECOND, Comparison
from benchmarks.plot import LABELS, VALUES, WIDTH, axis_ticks, svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*comparisons: Comparison) -> ElementTree.Element:
    return ElementTree.fromstring(svg(comparisons))


def dots(picture: ElementTree.Element) -> list[float]:
    return [float(circle.attrib["cx"]) for circle in picture.iter(f"{SVG}circle")]


def words(picture: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


def test_each_contender_has_a_line() -> None:
    picture = drawn(Comparison("start", {"pyrt <run>": [0.002], "crun & co": [0.02]}, {"runc": "not installed"}))
    assert len(dots(picture)) == 2
    assert {"pyrt <run>", "crun & co", "start (ms)", "2.00 ms", "20.0 ms"} <= set(words(picture))


def test_the_axis_is_logarithmic() -> None:
    left, middle, right = dots(drawn(Comparison("start", {"a": [0.001], "b": [0.010], "c": [0.100]})))
    assert left == LABELS and right == WIDTH - VALUES
    assert middle == pytest.approx((left + right) / 2, abs=0.1)


def test_the_bar_is_the_middle_of_the_samples() -> None:
    picture = drawn(Comparison("start", {"a": [0.001] + [0.002] * 9 + [0.005] * 10, "b": [0.010]}))
    bar = next(path for path in picture.iter(f"{SVG}path") if "stroke-opacity" in path.attrib)
    start, end = (float(part) for part in bar.attrib["d"].removeprefix("M").replace(" ", "H").split("H")[::2])
    assert start < dots(picture)[0] < end


def test_panels_do_not_overlap_and_fit() -> None:
    panels = [Comparison(f"panel {number}", {"a": [0.001], "b": [0.002]}) for number in range(3)]
    picture = drawn(*panels)
    heights = [float(circle.attrib["cy"]) for circle in picture.iter(f"{SVG}circle")]
    assert heights == sorted(set(heights))
    assert heights[-1] < float(picture.attrib["height"])


def test_a_comparison_without_samples_has_no_panel() -> None:
    assert "empty (ms)" not in words(drawn(Comparison("empty", {}, {"a": "not here"})))
    assert dots(drawn()) == []


def test_the_fastest_rate_is_at_the_top_and_to_the_right() -> None:
    first, second = dots(drawn(Comparison("rate", {"slow": [0.1], "fast": [0.01]}, unit=A_SECOND)))
    assert first > second


@pytest.mark.parametrize(
    ("lowest", "highest"), [(1, 1), (0.3, 0.31), (1, 10), (1.5, 420), (999, 1001), (0, 0), (5, 5)]
)
def test_ticks_are_round_and_enclose(lowest: float, highest: float) -> None:
    ticks = axis_ticks(lowest, highest)
    assert len(ticks) >= 2 and ticks == sorted(ticks)
    assert ticks[0] <= max(lowest, 1e-6) and ticks[-1] >= highest
    assert all(round(tick / 10 ** math.floor(math.log10(tick) + 1e-9)) in (1, 2, 5) for tick in ticks)
