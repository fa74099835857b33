#!/usr/bin/env python3
"""Writes docs/published-cases.md and its pictures from the shipped cases.

python tools/factors/published_page.py             write them
python tools/factors/published_page.py --check     1 if what is there is not what would be
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from pyprof.carbon import compare  # noqa: E402
from pyprof.carbon.cases import Outcome, check_file, published_cases_path  # noqa: E402
from pyprof.carbon.equivalents import equivalents  # noqa: E402
from pyprof.carbon.lifecycle_file import life_cycle  # noqa: E402
from pyprof.carbon.table import data_path  # noqa: E402
from pyprof.carbon.toml import read_toml  # noqa: E402
from pyprof.export.figure import mass  # noqa: E402

DOCS = ROOT / "docs"
PICTURES = DOCS / "published-cases"
INTRODUCTION = """\
# Published cases, computed again

Every figure below was published by others. pyprof computes it from the inputs that were published
with it, by `pyprof lifecycle --published`, and it must come out within the tolerance of its case.
This page and its pictures are written by `tools/factors/published_page.py`; a test fails when they
and the code disagree.
"""
HEADLINES = """\
## The headline figures, one command each

| what was said | command | what comes out |
| --- | --- | --- |
| 25 t for the training | `pyprof carbon --kwh 433196 --factor 57` | {training} |
| 50 t with idle and manufacturing | `pyprof lifecycle --example bloom` | {making} |
| about 60 flights London-New York | `pyprof lifecycle --example bloom` | {flights} |
| 19 kg a day in use | `pyprof lifecycle --example bloom-api` | {daily} |
| 54 miles by car | `pyprof carbon --kg 18.92 --equivalents car_mile_us_new_2020` | {miles} |
| the grid decides | `pyprof carbon --kwh 433196 --zones FR,AU` | {grids} |

The flights are *return*, economy, without radiative forcing, by today's factors; the press report
of 2022 implies 842 kg a flight, which is where its 60 comes from. Rows that are implied by a
published result (`flight_press_2022`, `car_mile_press_2022`) are kept to compare with and are never
used unless they are asked for. 54 miles is a new car of 2020; the whole fleet gives {fleet} miles.
"""
TRAPS = """\
## The traps

- **Rounded factors.** The study prints 0.003 kg an hour for a GPU. Computing with that loses 11 %:
  3.25 t where the inputs give 3.64 t. Nothing is rounded before it is printed.
- **PUE inside or outside.** GPT-3's 1,287 MWh have a PUE of 1.1 inside already: 552 t with it,
  502 t without. Applying it again gives 607 t. A measured idle row and a PUE are two answers to one
  question; pyprof refuses both in one case.
- **Pounds.** Strubell et al. print pounds of CO2 and 0.954 lb/kWh.
- **Reserved and used hours.** Manufacturing is borne by the hours for which hardware was held.
- **Which energy.** The paper prints 914 kWh for the trial of BLOOM's use; its 340 kg come from the
  864.249 kWh of the raw log. 914 kWh would be 360 kg.
- **Which days.** The trial lasted 17 d 3 h 40 min and was divided by 18.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the page of published cases.")
    parser.add_argument("--check", action="store_true", help="only compare")
    args = parser.parse_args()
    stale = [path for path, text in documents().items() if not _is_current(path, text)]
    if args.check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the code gives")
        return 1 if stale else 0
    PICTURES.mkdir(exist_ok=True)
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
    return 0


def documents() -> dict[Path, str]:
    outcomes = check_file(published_cases_path())
    return {
        DOCS / "published-cases.md": page(outcomes),
        PICTURES / "bloom.svg": bloom_picture(),
        PICTURES / "outcomes.svg": outcome_picture(outcomes),
        PICTURES / "zones.svg": zone_picture(),
    }


def page(outcomes: Sequence[Outcome]) -> str:
    cases = {case["id"]: case for case in read_toml(published_cases_path())["case"]}
    parts = [
        INTRODUCTION,
        f"{sum(o.passes for o in outcomes)} of {len(outcomes)} figures come out.\n",
        "![computed against published](published-cases/outcomes.svg)\n",
        headlines(),
        "![the life cycle of BLOOM](published-cases/bloom.svg)\n",
        "![the same training in other grids](published-cases/zones.svg)\n",
        "## The cases\n",
    ]
    parts += [case_text(cases[key], list(rows)) for key, rows in groupby(outcomes, lambda o: o.id)]
    return "\n".join([*parts, TRAPS])


def headlines() -> str:
    making = life_cycle(data_path("bloom.toml"))
    daily = life_cycle(data_path("bloom_api.toml")).deployment_kg_per_day or 0.0
    france, australia = compare(433196 * 3.6e6, ["FR", "AU"])
    shown = mass(making.kg_co2e, making.low_kg, making.high_kg)
    ratio = (australia.kg_co2e or 0.0) / (france.kg_co2e or 1.0)
    return HEADLINES.format(
        training=f"{making.by_phase['training'] / 1000:.2f} t",
        making=f"{making.kg_co2e / 1000:.1f} t, printed as far as its interval allows: {shown}",
        flights=f"{_count(making.kg_co2e, 'flight_lhr_jfk_economy_return')} return flights",
        daily=f"{daily:.2f} kg",
        miles=f"{_count(18.92, 'car_mile_us_new_2020')} miles",
        fleet=_count(18.92, "car_mile_us_fleet"),
        grids=f"Australia {ratio:.1f} times France",
    )


def case_text(case: dict[str, Any], outcomes: Sequence[Outcome]) -> str:
    inputs = "; ".join(f"`{name}` {_shown(value)}" for name, value in case["inputs"].items())
    lines = [f"### {case['id']}\n", f"{case['source']}.\n"]
    if "note" in case:
        note = case["note"]
        lines.append(f"{note[0].upper()}{note[1:].rstrip('.')}.\n")
    lines += [f"Inputs: {inputs}.\n", "| quantity | published | computed | off by | |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for each in outcomes:
        label = f"{each.quantity}, {each.model}" if each.model else each.quantity
        off = each.computed / each.expected - 1.0
        verdict = "pass" if each.passes else "**fail**"
        figures = f"{each.expected:.10g} | {_computed(each.computed)} | {off:+.2%}"
        lines.append(f"| {label} | {figures} | {verdict} |")
    return "\n".join(lines) + "\n"


def bloom_picture() -> str:
    cycle = life_cycle(data_path("bloom.toml"))
    published = {"training": 24.69, "idle": 14.6, "embodied": 11.2}
    bars = [
        (f"{phase} ({published[phase]:g} t published)", kg / 1000, f"{kg / 1000:.2f} t")
        for phase, kg in sorted(cycle.by_phase.items(), key=lambda item: -item[1])
    ]
    whole = ("all of it (50.5 t published)", cycle.kg_co2e / 1000, f"{cycle.kg_co2e / 1000:.2f} t")
    return bar_picture("The making of BLOOM, tonnes of CO2e", [*bars, whole])


def outcome_picture(outcomes: Sequence[Outcome]) -> str:
    """Every figure's error as a dot within the band that its tolerance allows."""
    height, left, half = 20, 520, 100
    rows = [
        f'<text x="{left - half}" y="42" text-anchor="middle">less</text>'
        f'<text x="{left}" y="42" text-anchor="middle">as published</text>'
        f'<text x="{left + half}" y="42" text-anchor="middle">more</text>'
    ]
    for index, each in enumerate(outcomes):
        y = 52 + index * height
        label = " ".join(filter(None, (each.id, each.quantity, each.model)))
        error = each.computed - each.expected
        place = error / each.allowed if each.allowed else math.copysign(float(error != 0), error)
        x = left + half * max(-1.3, min(1.3, place))
        colour = "#3a7d44" if each.passes else "#b3261e"
        off, allowed = error / each.expected, each.allowed / abs(each.expected)
        rows.append(
            f'<text x="{left - half - 14}" y="{y + 11}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{left - half}" y="{y}" width="{2 * half}" height="14" fill="#e3ebe4"/>'
            f'<path d="M{left} {y}v14" stroke="#9aa89c"/>'
            f'<circle cx="{x:.1f}" cy="{y + 7}" r="4.5" fill="{colour}"/>'
            f'<text x="{left + half + 10}" y="{y + 11}">{off:+.2%} of ±{allowed:.2%}</text>'
        )
    title = "Computed against published: each dot within the band of its tolerance"
    return picture(title, rows, 62 + len(outcomes) * height)


def zone_picture() -> str:
    rows = compare(433196 * 3.6e6, ["FR", "SE", "CA-QC", "GB", "US", "DE", "AU", "CN", "IN"])
    known = [(row.name or row.zone, (row.kg_co2e or 0.0) / 1000) for row in rows]
    bars = [(name, t, f"{t:.0f} t") for name, t in sorted(known, key=lambda item: item[1])]
    return bar_picture("BLOOM's training energy in other grids, tonnes of CO2e", bars)


def bar_picture(title: str, bars: Sequence[tuple[str, float, str]]) -> str:
    height, left, width = 20, 300, 400
    longest = max(value for _, value, _ in bars)
    rows = []
    for index, (label, value, shown) in enumerate(bars):
        y = 40 + index * height
        size = width * value / longest
        rows.append(
            f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{left}" y="{y}" width="{size:.1f}" height="14" fill="#3a7d44"/>'
            f'<text x="{left + size + 6:.1f}" y="{y + 11}">{escape(shown)}</text>'
        )
    return picture(title, rows, 50 + len(bars) * height)


def picture(title: str, rows: Sequence[str], height: int) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{height}" '
        f'viewBox="0 0 800 {height}" font-family="sans-serif" font-size="12" role="img" '
        f'aria-label="{escape(title)}">'
    )
    paper = f'<rect width="800" height="{height}" fill="white"/>'
    caption = f'<text x="12" y="22" font-size="14">{escape(title)}</text>'
    return "\n".join([head, paper, caption, *rows, "</svg>"]) + "\n"


def _count(kg: float, name: str) -> str:
    (each,) = equivalents(kg, ids=[name])
    return f"{each.rounded:g}"


def _computed(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1e6 else f"{value:.6g}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(_shown(each) for each in value)
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
