"""Figures, lines and names hold for any input, not only for those of the agreed pages."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from sample import make_stage

from pyprof.carbon.units import kwh_from_j
from pyprof.export import figure
from pyprof.export.lines import wrap
from pyprof.export.stagetree import split_path, stage_tree
from pyprof.export.table import Column, draw
from pyprof.export.terminal import clean, shorten, text_width

AMOUNTS = st.floats(min_value=1e-6, max_value=1e15)
NAMES = st.text(max_size=40)


@given(AMOUNTS, st.floats(min_value=1e-6, max_value=10.0))
def test_rounding_is_small_beside_the_doubt_and_the_value(value: float, relative: float) -> None:
    doubt = value * relative
    shown = float(figure.digits(value, doubt))
    assert abs(shown - value) <= max(0.051 * doubt, 5.1e-4 * value)


@given(AMOUNTS, st.floats(min_value=1e-4, max_value=10.0))
def test_no_digit_is_shown_that_the_doubt_forbids(value: float, relative: float) -> None:
    doubt = value * relative
    places = len(figure.digits(value, doubt).partition(".")[2])
    assert 10.0**-places >= doubt / 101 or places == 0


@given(AMOUNTS)
def test_unit_keeps_the_figure_readable(energy_j: float) -> None:
    scale = figure.energy_scale(energy_j)
    assert energy_j / scale.size >= 1 or scale.unit == "mJ"
    assert energy_j / scale.size < 3601 or scale.unit == "MWh"
    if scale.unit == "kWh":
        assert math.isclose(energy_j / scale.size, kwh_from_j(energy_j))


@given(NAMES)
def test_what_is_cleaned_can_be_printed(name: str) -> None:
    shown = clean(name)
    assert "\n" not in shown
    assert all(ord(character) >= 32 and not 127 <= ord(character) < 160 for character in shown)
    shown.encode("utf-8")


@given(NAMES.map(clean), st.integers(min_value=3, max_value=60))
def test_shortened_names_fit(name: str, width: int) -> None:
    short = shorten(name, width)
    assert text_width(short) <= width
    if text_width(name) <= width:
        assert short == name


@given(st.lists(NAMES.map(clean), max_size=30), st.integers(min_value=30, max_value=100))
def test_lines_fit_and_lose_nothing(words: list[str], width: int) -> None:
    lines = wrap(" ".join(words), "- ", "  ", width)
    assert all(text_width(line) <= width for line in lines)
    kept = "".join("".join(lines).split())
    assert kept == "-" + "".join("".join(words).split())


@given(
    st.lists(st.tuples(NAMES.map(clean), AMOUNTS, AMOUNTS, AMOUNTS), min_size=1, max_size=8),
    st.integers(min_value=60, max_value=100),
)
def test_tables_fit_any_width(rows: list[tuple[str, float, float, float]], width: int) -> None:
    columns = (Column("name"), Column("a", point=True), Column("b", leave=1), Column("c", leave=2))
    cells = [[name, *(figure.digits(value, None) for value in values)] for name, *values in rows]
    lines = draw(columns, cells, width)
    assert len(lines) == len(rows) + 1
    assert all(text_width(line) <= width for line in lines)


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5))
def test_paths_come_apart_as_they_were_joined(names: list[str]) -> None:
    joined = "/".join(name.replace("\\", "\\\\").replace("/", "\\/") for name in names)
    assert split_path(joined) == names


@given(
    st.dictionaries(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join),
        st.floats(min_value=0, max_value=100),
        max_size=12,
    ),
    st.integers(min_value=1, max_value=12),
)
def test_tree_shows_the_largest_and_counts_the_rest(energies: dict[str, float], most: int) -> None:
    rows = [make_stage("", 1000.0), *(make_stage(path, value) for path, value in energies.items())]
    nodes, hidden = stage_tree(rows, most)
    assert len(nodes) + hidden == len(rows)
    assert nodes[0].row.path == ""
    assert len(nodes) >= min(most, len(energies)) + 1
    shown = [node.row.path for node in nodes]
    for path in shown:
        above = path.rpartition("/")[0]
        assert above in shown or above not in energies
    whole, none = stage_tree(rows, None)
    assert (len(whole), none) == (len(rows), 0)
