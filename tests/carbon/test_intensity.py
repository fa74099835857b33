from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_double import make_report

from pyprof.carbon import Scenario, account, footprint
from pyprof.carbon.intensity import (
    Intensity,
    Slot,
    cleanest,
    make_intensity,
    parse_utc,
    read_intensity,
    utc_text,
    weigh,
)
from pyprof.carbon.windows import Windows
from pyprof.errors import UsageError

HOUR = 3600.0
DAY = [h * HOUR for h in range(24)]


def hourly(values, start_s: float = 0.0) -> Intensity:
    slots = [Slot(start_s + i * HOUR, start_s + (i + 1) * HOUR, v) for i, v in enumerate(values)]
    return make_intensity(slots, Intensity((), source="test"))


class Timed:
    """A report whose stages have a power curve each; the run's is their sum."""

    def __init__(self, series) -> None:
        self._series = series
        rows = [(path, phase, math.fsum(b[2] for b in s)) for (path, phase), s in series.items()]
        report = make_report(rows)
        self.total, self.stage_rows = report.total, report.stage_rows
        self.channel_rows = report.channel_rows

    def power_series(self, path=None, phase=None, edges_s=None):
        if path is None:
            return [b for bins in self._series.values() for b in bins]
        return self._series[(path, phase)]


def test_an_anti_phase_day_differs_by_the_exact_analytic_amount() -> None:
    # power 1000 W +- 600 W, intensity 300 g -+ 200 g: high when the grid is clean
    power = [1600.0 if h < 12 else 400.0 for h in range(24)]
    grid = hourly([100.0 if h < 12 else 500.0 for h in range(24)])
    bins = [(at, at + HOUR, watts * HOUR) for at, watts in zip(DAY, power, strict=True)]
    report = Timed({("", "training"): bins})
    over_time = account(report, Scenario(intensity=grid)).kg_co2e
    mean = footprint({"training": 24.0}, Scenario(factor_g_per_kwh=300)).kg_co2e
    assert mean == pytest.approx(7.2)
    # the covariance of the two square waves: 24 h x (-0.6 kW x 0.2 kg/kWh)
    assert over_time - mean == pytest.approx(24 * -0.6 * 0.2, rel=1e-12)


def test_a_sine_day_differs_by_half_the_product_of_its_amplitudes() -> None:
    steps, span = 24 * 60, 24 * HOUR
    step = span / steps
    angle = [2 * math.pi * (i + 0.5) / steps for i in range(steps)]
    bins = [
        (i * step, (i + 1) * step, (1 + 0.5 * math.sin(a)) * 3.6e6 * step / HOUR)
        for i, a in enumerate(angle)
    ]
    slots = [Slot(i * step, (i + 1) * step, 300 - 100 * math.sin(a)) for i, a in enumerate(angle)]
    grid = make_intensity(slots, Intensity((), source="sine"))
    assert weigh(bins, grid).grams == pytest.approx(24 * (300 - 0.5 * 100 / 2), rel=1e-9)


values = st.lists(st.floats(0, 1000), min_size=24, max_size=24)
energies = st.lists(st.floats(0, 1e9), min_size=1, max_size=24)


@given(values, energies, st.integers(2, 7))
def test_splitting_a_bin_changes_nothing(grid_values, joules, parts: int) -> None:
    grid = hourly(grid_values)
    bins = [(i * 3000.0, (i + 1) * 3000.0, j) for i, j in enumerate(joules)]
    fine = [
        (s + (e - s) * k / parts, s + (e - s) * (k + 1) / parts, j / parts)
        for s, e, j in bins
        for k in range(parts)
    ]
    assert weigh(fine, grid).grams == pytest.approx(weigh(bins, grid).grams, rel=1e-9, abs=1e-9)


@given(values, energies)
def test_a_series_stays_between_its_extremes(grid_values, joules) -> None:
    grid = hourly(grid_values)
    bins = [(i * 3000.0, (i + 1) * 3000.0, j) for i, j in enumerate(joules)]
    kwh = math.fsum(joules) / 3.6e6
    grams = weigh(bins, grid).grams
    assert min(grid_values) * kwh * (1 - 1e-9) <= grams <= max(grid_values) * kwh * (1 + 1e-9)


def test_every_stage_is_priced_at_its_own_hours_and_they_add_up() -> None:
    report = Timed(
        {
            ("", "training"): [(0.0, 2 * HOUR, 7.2e6)],
            ("night", "training"): [(0.0, HOUR, 3.6e6)],
            ("noon", "deployment"): [(HOUR, 2 * HOUR, 3.6e6)],
        }
    )
    result = account(report, Scenario(intensity=hourly([100.0, 500.0]), pue=1.5))
    assert result.by_stage == {
        "": pytest.approx(0.9),
        "night": pytest.approx(0.15),
        "noon": pytest.approx(0.75),
    }
    assert math.fsum(result.by_stage.values()) == pytest.approx(result.kg_co2e)
    assert result.factors[0].g_per_kwh == pytest.approx(300.0)


def test_hours_without_a_value_are_not_invented() -> None:
    grid = make_intensity([Slot(0, HOUR, 100.0)], Intensity((), source="short.csv"))
    report = Timed({("", "training"): [(0.0, 2 * HOUR, 7.2e6)]})
    with pytest.raises(UsageError, match=r"short.csv has no value for 50.0% of the energy"):
        account(report, Scenario(intensity=grid))
    filled = account(report, Scenario(intensity=grid, zone="FR"))
    assert filled.kg_co2e == pytest.approx(0.1 + 0.04418)
    assert len(filled.factors) == 2
    assert any("50.0% of the energy" in note for note in filled.notes)


def test_gaps_are_never_filled_with_another_kind() -> None:
    grid = make_intensity([Slot(0, HOUR, 100.0)], Intensity((), kind="direct", source="x"))
    report = Timed({("", "training"): [(0.0, 2 * HOUR, 7.2e6)]})
    with pytest.raises(UsageError, match="never mixed"):
        account(report, Scenario(intensity=grid, zone="FR"))


def test_a_bare_figure_has_no_hours() -> None:
    with pytest.raises(UsageError, match="needs energy over time"):
        footprint({"training": 1.0}, Scenario(intensity=hourly([1.0])))


def test_the_cleanest_time_to_have_run() -> None:
    grid = hourly([300, 200, 100, 100, 200, 300])
    shifts = cleanest([(5 * HOUR, 6 * HOUR, 3.6e6), (6 * HOUR, 7 * HOUR, 3.6e6)], grid)
    assert shifts[0].start_s == 2 * HOUR
    assert shifts[0].kg_co2e == pytest.approx(0.2)
    assert len(shifts) == 5


def test_a_long_run_is_moved_about_quickly_and_right() -> None:
    grid = hourly([100 + (h % 24) for h in range(24 * 10)])
    fine = [(i * 1.0, i + 1.0, 3.6e6 / 3600) for i in range(4 * 3600)]
    shifts = cleanest(fine, grid)
    assert shifts[0].start_s % (24 * HOUR) == 0
    assert shifts[0].kg_co2e == pytest.approx((100 + 101 + 102 + 103) / 1000, rel=1e-3)


def write(tmp_path, text: str) -> str:
    path = tmp_path / "grid.csv"
    path.write_text(text)
    return str(path)


START_NS, HALF_NS, END_NS = 10**15, 10**15 + 3600 * 10**9, 10**15 + 7200 * 10**9


class Recorded:
    """A recording of two stages on a monotonic clock that began long before it."""

    def report(self):
        report = make_report([("", "training", 0.0), ("a", "training", 500.0 * HOUR),
                              ("b", "deployment", 1500.0 * HOUR)])  # fmt: skip
        run = replace(report.run, start_utc="1970-01-01T00:30:00.000000Z", start_mono_ns=START_NS,
                      end_mono_ns=END_NS)  # fmt: skip
        return replace(report, run=run, timed=Windows(run, 3, self.own))

    def own(self, times_ns):
        early = [(min(t, HALF_NS) - START_NS) * 1e-9 * 500.0 for t in times_ns]
        late = [max(0, t - HALF_NS) * 1e-9 * 1500.0 for t in times_ns]
        none = [0.0] * len(times_ns)
        return [("", "training", none), ("a", "training", early), ("b", "deployment", late)]


def test_a_recording_is_asked_where_the_intensity_changes() -> None:
    grid = hourly([100.0, 200.0, 400.0])
    result = footprint(Recorded(), Scenario(intensity=grid))
    a, b = 0.5 * (0.5 * 100 + 0.5 * 200) / 1000, 1.5 * (0.5 * 200 + 0.5 * 400) / 1000
    assert result.by_stage["a"] == pytest.approx(a, rel=1e-12)
    assert result.by_stage["b"] == pytest.approx(b, rel=1e-12)
    assert result.kg_co2e == pytest.approx(a + b, rel=1e-12)


@given(st.lists(st.floats(1e-3, 5 * HOUR), min_size=1, max_size=20, unique=True), st.data())
def test_windows_add_up_however_they_are_cut(edges, data) -> None:
    """An intensity that changes at any moments: the exact sum over its pieces."""
    moments = [0.0, *sorted(edges), 6 * HOUR]
    values = [data.draw(st.floats(0, 1000)) for _ in moments[1:]]
    slots = [Slot(s, e, g) for (s, e), g in zip(pairwise(moments), values, strict=True)]
    grid = make_intensity(slots, Intensity((), source="x"))
    exact = 0.0
    for slot in slots:
        for power_w, begin_s, end_s in ((500.0, 1800.0, 5400.0), (1500.0, 5400.0, 9000.0)):
            held_s = max(0.0, min(slot.end_s, end_s) - max(slot.start_s, begin_s))
            exact += power_w * held_s / 3.6e6 * slot.g_per_kwh / 1e3
    assert footprint(Recorded(), Scenario(intensity=grid)).kg_co2e == pytest.approx(
        exact, rel=1e-6, abs=1e-9
    )


def test_a_series_of_seconds_over_many_rows_is_thinned_and_not_held_in_memory() -> None:
    run = Recorded().report().run
    asked: list[int] = []

    def own(times_ns):
        asked.append(len(times_ns))
        return [("", "training", [t * 1e-9 for t in times_ns])]

    bins = Windows(run, 10_000, own).power_series(edges_s=range(1800, 9000))
    assert asked[0] < 250
    assert math.fsum(each[2] for each in bins) == pytest.approx(7200.0)


def test_windows_cover_a_run_once_and_end_on_full_steps() -> None:
    series = Recorded().report().power_series()
    assert series[0][0] == 1800.0
    assert series[-1][1] == 1800.0 + 7200.0
    assert all(before[1] == after[0] for before, after in pairwise(series))
    assert all(each[0] % 60 == 0 for each in series[1:])
    assert math.fsum(each[2] for each in series) == pytest.approx(2000.0 * 3600)


def test_energy_at_a_moment_meets_that_moments_value() -> None:
    grid = hourly([100.0, 200.0])
    assert weigh([(HOUR, HOUR, 3.6e6)], grid).grams == pytest.approx(200)
    assert weigh([(2 * HOUR, 2 * HOUR, 3.6e6)], grid).missing_j == pytest.approx(3.6e6)


def test_a_series_from_a_csv(tmp_path) -> None:
    path = write(
        tmp_path,
        "# a comment\n"
        "start_utc,g_per_kwh,zone,source\n"
        "2026-01-01T00:00Z,50,FR,my grid\n"
        "2026-01-01T01:00:00+00:00,60,FR,my grid\n"
        "2026-01-01 02:00,70,FR,my grid\n"
        "2026-01-01T04:00Z,90,FR,my grid\n",
    )
    grid = read_intensity(path)
    assert (grid.zone, grid.source, grid.kind) == ("FR", "my grid", "lifecycle")
    assert utc_text(grid.slots[2].end_s) == "2026-01-01T03:00Z"
    assert utc_text(grid.slots[3].start_s) == "2026-01-01T04:00Z"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("start_utc,g_per_kwh\n", "no value"),
        ("start_utc,g_per_kwh\n2026-01-01T00:00Z,50\n", "end_utc"),
        ("start_utc,g_per_kwh\nyesterday,50\n0,1\n", "line 2: not a time"),
        ("start_utc,g_per_kwh\n0,much\n3600,1\n", "line 2: g_per_kwh is not a number"),
        ("start_utc,g_per_kwh\n0,-4\n3600,1\n", "at least 0"),
        ("start_utc,g_per_kwh\n0,nan\n3600,1\n", "finite"),
        ("start_utc,g_per_kwh\n0,1\n0,2\n3600,1\n", "two values"),
        ("start_utc,g_per_kwh,kind\n0,1,direct\n3600,1,lifecycle\n", "differs between rows"),
        ("start_utc,g_per_kwh,kind\n0,1,green\n3600,1,green\n", "'green' is not one of"),
        ("start_utc,end_utc,g_per_kwh\n3600,0,1\n", "not after"),
        ("when,g\n0,1\n", "lacks the column 'start_utc'"),
        ("", "empty"),
    ],
)
def test_a_bad_series_is_one_sentence(tmp_path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_intensity(write(tmp_path, text))


@given(st.integers(0, 4102444800))
def test_times_round_trip_to_the_minute(unix_s: int) -> None:
    assert parse_utc(utc_text(unix_s), "x") == unix_s - unix_s % 60
