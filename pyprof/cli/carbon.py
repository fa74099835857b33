"""``pyprof carbon``: energy as carbon, anywhere, at any hour, and in the words of the standards."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyprof import settings
from pyprof.cli import options
from pyprof.errors import UsageError
from pyprof.export.terminal import clean, usable_width, write

if TYPE_CHECKING:
    from pyprof.carbon import Footprint, Scenario, ZoneRow
    from pyprof.carbon.embodied import Holding
    from pyprof.carbon.equivalents import Equivalent
    from pyprof.carbon.intensity import Intensity, Shift
    from pyprof.carbon.ledger import Bin
    from pyprof.energy import EnergyReport
    from pyprof.recording import Recording

NAME = "carbon"
HELP = "Account for a recording, or for bare figures: zones, hours, hardware, standards."
EXAMPLES = """\
examples:
  pyprof carbon train.pyprof --zone FR
  pyprof carbon train.pyprof --zones FR,DE,CN,AU,US-CA
  pyprof carbon train.pyprof --intensity fr-2026.csv --cleanest
  pyprof carbon --kwh 433196 --factor 57
  pyprof carbon --kwh 864.249 --factor 394 --days 18
  pyprof carbon --kg 18.92 --equivalents car_mile_us_new_2020
  pyprof carbon train.pyprof --zone FR --format model-card
"""
_FLAGS = (
    "zone", "pue", "kind", "factor_g_per_kwh", "factor_table", "energy_includes_pue", "intensity",
    "market_g_per_kwh", "market_source", "loss_fraction", "wue_l_per_kwh", "water_l_per_kwh",
    "price_per_kwh", "currency", "idle_share", "functional_unit", "functional_units",
)  # fmt: skip
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that one command found out; what was not asked for is None or empty."""

    footprint: Footprint | None
    report: EnergyReport | None
    kg: float | None
    low_kg: float | None
    high_kg: float | None
    per_day_kg: float | None
    zones: tuple[ZoneRow, ...]
    shifts: tuple[Shift, ...]
    equivalents: tuple[Equivalent, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of this verb."""
    parser.add_argument("file", nargs="?", metavar="RUN", help="a recording")
    energy = parser.add_argument_group("instead of a recording")
    energy.add_argument(
        "--kwh", action="append", metavar="[PHASE=]N", help="kWh, of the training if not said"
    )
    energy.add_argument("--kg", type=float, metavar="N", help="CO2e, to be put in other words")
    add_scenario(parser)
    add_aside(parser)
    parser.add_argument("--zones", metavar="A,B", help="the same energy in several zones")
    parser.add_argument("--days", type=float, metavar="N", help="also per day, over N days")
    parser.add_argument("--equivalents", metavar="IDS", help="everyday units, by id ('none')")
    add_time(parser)
    add_documents(parser)
    parser.add_argument("--json", action="store_true", help="JSON on stdout")


def add_scenario(parser: argparse.ArgumentParser) -> None:
    """How energy becomes carbon. Names of arguments are those of the scenario."""
    group = parser.add_argument_group("scenario")
    add = group.add_argument
    add("--scenario", metavar="FILE.toml", help="choices from a file")
    add("--zone", metavar="Z", help="grid zone, such as FR (PYPROF_ZONE)")
    add("--pue", metavar="P", type=float, help="overhead of the facility")
    add("--kind", choices=("lifecycle", "direct"), help="kind of grid factor")
    add("--factor", dest="factor_g_per_kwh", type=float, metavar="G", help="your own, g/kWh")
    add("--factor-table", metavar="CSV", help="your own rows over the tables")
    add(
        "--energy-includes-pue",
        action="store_true",
        default=None,
        help="the overhead is inside already",
    )


def add_aside(parser: argparse.ArgumentParser) -> None:
    """What stands beside the total."""
    group = parser.add_argument_group("beside the total")
    add = group.add_argument
    add("--market", dest="market_g_per_kwh", type=float, metavar="G", help="contracts, g/kWh")
    add("--market-source", metavar="WORDS", help="which contracts")
    add("--grid-loss", dest="loss_fraction", type=float, metavar="F", help="of what is generated")
    add("--wue", dest="wue_l_per_kwh", type=float, metavar="L", help="water on site, L per IT kWh")
    add("--water", dest="water_l_per_kwh", type=float, metavar="L", help="water off site, L/kWh")
    add("--price", dest="price_per_kwh", type=float, metavar="N", help="of a kWh, with --currency")
    add("--currency", metavar="CODE", help="such as EUR")
    add("--idle-share", type=float, metavar="F", help="part of the energy that is idle")
    add(
        "--embodied",
        action="append",
        metavar="NAME=HOURS",
        help="hardware held, hours summed over pieces",
    )
    add("--clock", choices=("used", "reserved"), default="used", help="what those hours are")


def add_time(parser: argparse.ArgumentParser) -> None:
    """Intensity over time."""
    group = parser.add_argument_group("intensity over time")
    group.add_argument("--intensity", metavar="CSV", help="start_utc, g_per_kwh")
    group.add_argument("--provider", metavar="NAME", help="electricity-maps, watttime, uk, entsoe")
    group.add_argument("--provider-zone", metavar="Z", help="the provider's own word for the zone")
    group.add_argument("--provider-url", metavar="URL", help="another address of the provider")
    group.add_argument("--at", metavar="TIME", help="as if begun then, such as 2026-01-31T13:00Z")
    group.add_argument(
        "--cleanest", action="store_true", help="when the run would have been cleanest"
    )


def add_documents(parser: argparse.ArgumentParser) -> None:
    """Documents for others."""
    group = parser.add_argument_group("documents")
    group.add_argument(
        "--format",
        metavar="NAME",
        help="sci, ghg, model-card, boamps, impact-framework, codecarbon, ai-energy-score",
    )
    group.add_argument("--functional-unit", metavar="WORD", help="such as request")
    group.add_argument("--functional-units", type=float, metavar="N", help="how many of them")
    group.add_argument("--name", metavar="WORDS", help="what was run")
    group.add_argument("--task", metavar="WORDS", help="what kind of task it was")
    group.add_argument("--hardware", metavar="WORDS", help="on what it ran")


def run(args: argparse.Namespace) -> int:
    """Prints the account."""
    answer = _answer(args)
    if args.format is not None:
        write(sys.stdout, _document(args, answer))
    elif args.json:
        import json

        write(sys.stdout, json.dumps(_as_json(answer), indent=2, allow_nan=False) + "\n")
    else:
        write(sys.stdout, "".join(f"{clean(line)}\n" for line in _lines(answer, args)))
    return 0


def scenario_of(args: argparse.Namespace, recording: Recording | None = None) -> Scenario:
    """Flags over the scenario file, over what the recording keeps, over the settings."""
    from pyprof.carbon.scenario import override

    chosen = _base(args, recording)
    if args.scenario is not None:
        chosen = _of_file(args.scenario, chosen)
    flags: dict[str, Any] = {name: getattr(args, name) for name in _FLAGS}
    if args.embodied is not None:
        flags["embodied"] = tuple(_held(words, args.clock) for words in args.embodied)
    return override(chosen, {name: value for name, value in flags.items() if value is not None})


def _held(words: str, clock: str) -> Holding:
    """``NAME=HOURS`` as hardware held."""
    from pyprof.carbon.embodied import hold

    name, _, hours = words.rpartition("=")
    try:
        number = float(hours)
    except ValueError:
        number = -1.0
    if not name or not number >= 0.0:
        raise UsageError(f"--embodied takes NAME=HOURS, such as 'NVIDIA A100=96', not {words!r}")
    return hold(name, number, clock=clock)


def _base(args: argparse.Namespace, recording: Recording | None) -> Scenario:
    """What the recording keeps, with the project's hardware; else the settings."""
    chosen = options.override_settings(settings.find_project())
    kept = None
    if recording is not None:
        kept = recording.kept if args.zone is None else recording.kept_if_sound
    return chosen if kept is None else replace(kept, embodied=chosen.embodied)


def _of_file(path: str, base: Scenario) -> Scenario:
    """The choices of a file over ``base``."""
    from pyprof.carbon.scenario import scenario_from_section
    from pyprof.carbon.toml import Section, check_schema, read_toml

    table = read_toml(path)
    check_schema(table, path)
    section = Section(table, path)
    section.get("schema")
    chosen = scenario_from_section(section, base, folder=os.path.dirname(path))
    section.finish()
    return chosen


def _answer(args: argparse.Namespace) -> Answer:
    """Everything that was asked."""
    from pyprof.carbon.footprint import footprint
    from pyprof.carbon.intensity import parse_utc

    _check_inputs(args)
    ids = _ids(args.equivalents)
    if args.kg is not None:
        return _of_mass(args, ids)
    recording = None if args.file is None else options.open_recording(args.file)
    report = None if recording is None else recording.energy()
    scenario = scenario_of(args, recording)
    begun_s = None if args.at is None else parse_utc(args.at, "--at")
    over_time = args.provider is not None or args.cleanest or begun_s is not None
    bins = _bins(report, begun_s) if over_time else []
    if args.provider is not None:
        scenario = replace(scenario, intensity=_ask(args, bins, scenario))
    energy: Any = _read_kwh(args.kwh) if report is None else report
    zones = () if args.zones is None else tuple(each for each in args.zones.split(",") if each)
    wanted = scenario.has_place or not zones
    priced = footprint(energy, scenario, begun_s=begun_s) if wanted else None
    kind = scenario.kind if priced is None else priced.factors[0].kind
    rows = _compared(energy, scenario, zones, kind, args.factor_table)
    kg, low, high = (
        (None, None, None) if priced is None else (priced.kg_co2e, priced.low_kg, priced.high_kg)
    )
    return Answer(
        footprint=priced,
        report=report,
        kg=kg,
        low_kg=low,
        high_kg=high,
        per_day_kg=_per_day(kg, args.days),
        zones=rows,
        shifts=_shifts(args, bins, scenario),
        equivalents=_put(kg, low, high, ids),
    )


def _check_inputs(args: argparse.Namespace) -> None:
    """Exactly one thing to account for."""
    if sum(given is not None for given in (args.file, args.kwh, args.kg)) != 1:
        raise UsageError("give one of: a recording, --kwh or --kg")
    if args.days is not None and not args.days > 0.0:
        raise UsageError("--days must be a number above 0")
    if args.intensity is not None and args.provider is not None:
        raise UsageError("give --intensity or --provider, not both")
    if args.at is not None and args.intensity is None and args.provider is None:
        raise UsageError("--at needs --intensity or --provider: an annual factor knows no hours")
    if args.kg is not None:
        for name in (*_FLAGS, "zones", "provider", "format", "embodied", "scenario"):
            if getattr(args, name) is not None:
                raise UsageError("with --kg the carbon is given: only --days and --equivalents go")


def _of_mass(args: argparse.Namespace, ids: Sequence[str] | None) -> Answer:
    """A bare mass, in other words."""
    from pyprof.carbon.units import require_number

    kg = require_number(args.kg, "--kg")
    per_day = _per_day(kg, args.days)
    return Answer(None, None, kg, None, None, per_day, (), (), _put(kg, None, None, ids))


def _read_kwh(words: Sequence[str]) -> dict[str, float]:
    """``training=433196``, or a bare number for the training."""
    energies: dict[str, float] = {}
    for word in words:
        phase, sep, number = word.rpartition("=")
        name = phase if sep else "training"
        if name in energies:
            raise UsageError(f"--kwh gives the phase {name!r} twice")
        try:
            energies[name] = float(number)
        except ValueError:
            raise UsageError(
                f"--kwh takes kWh, such as 433196 or training=433196, not {word!r}"
            ) from None
    return energies


def _compared(
    energy: Any, scenario: Scenario, zones: Sequence[str], kind: str, table: str | None
) -> tuple[ZoneRow, ...]:
    """The same energy in several zones, of one kind."""
    from pyprof.carbon import compare
    from pyprof.carbon.footprint import ledger_of, refuse_overhead_twice

    ledger = ledger_of(energy)
    refuse_overhead_twice(ledger, scenario)
    if not zones or ledger.energy_j is None:
        return ()
    return compare(ledger.energy_j, zones, kind=kind, pue=_applied(scenario), table=table)


def _applied(scenario: Scenario) -> float | None:
    """The PUE that a comparison multiplies by."""
    return None if scenario.energy_includes_pue else scenario.pue


def _per_day(kg: float | None, days: float | None) -> float | None:
    """Carbon per day."""
    return None if kg is None or days is None else kg / days


def _ids(words: str | None) -> Sequence[str] | None:
    """The equivalents that were asked for; None are the usual ones."""
    if words is None:
        return None
    return () if words == "none" else tuple(each for each in words.split(",") if each)


def _put(
    kg: float | None, low: float | None, high: float | None, ids: Sequence[str] | None
) -> tuple[Equivalent, ...]:
    """Carbon in everyday units."""
    from pyprof.carbon.equivalents import equivalents

    return equivalents(kg, low, high, ids)


def _ask(args: argparse.Namespace, bins: Sequence[Bin], scenario: Scenario) -> Intensity:
    """The hours of a run, from a provider."""
    from pyprof.carbon.providers import make_provider

    zone = args.provider_zone or scenario.zone
    if zone is None:
        raise UsageError("a provider needs a zone, in its own words: --provider-zone FR")
    start_s, end_s = min(each[0] for each in bins), max(each[1] for each in bins)
    margin_s = _DAY_S if args.cleanest else 0.0
    provider = make_provider(
        args.provider, os.environ, kind=scenario.kind, base_url=args.provider_url
    )
    return provider.history(zone, start_s - margin_s, end_s + margin_s)


def _bins(report: EnergyReport | None, begun_s: float | None) -> Sequence[Bin]:
    """Energy over time, as if begun then."""
    from pyprof.carbon.intensity import begun_at

    if report is None:
        raise UsageError("hours need a recording: a bare figure says nothing about when")
    bins = (report if begun_s is None else begun_at(report, begun_s)).power_series()
    if not bins:
        raise UsageError("the recording holds no energy over time")
    return bins


def _shifts(args: argparse.Namespace, bins: Sequence[Bin], scenario: Scenario) -> tuple[Shift, ...]:
    """The run at other hours, cleanest first."""
    if not args.cleanest:
        return ()
    from pyprof.carbon.intensity import cleanest

    series = scenario.load_intensity()
    if series is None:
        raise UsageError("--cleanest needs --intensity or --provider")
    shifts = cleanest(bins, series)
    if not shifts:
        raise UsageError(f"{series.source} nowhere holds the whole length of the run")
    overhead = scenario.pue_multiplier
    return tuple(replace(shift, kg_co2e=shift.kg_co2e * overhead) for shift in shifts)


def _document(args: argparse.Namespace, answer: Answer) -> str:
    """A document of one of the formats."""
    from pyprof.export.manifests import render_manifest
    from pyprof.export.subject import Subject

    if answer.footprint is None:
        raise UsageError("--format needs one footprint: give a zone or a factor")
    return render_manifest(
        args.format,
        Subject(answer.footprint, answer.report, args.name, args.task, args.hardware),
    )


def _as_json(answer: Answer) -> dict[str, Any]:
    """The answer as JSON values."""
    return {
        "schema": "pyprof.carbon/1",
        "footprint": None if answer.footprint is None else answer.footprint.to_dict(),
        "kg_co2e": answer.kg,
        "per_day_kg": answer.per_day_kg,
        "zones": [row.to_dict() for row in answer.zones],
        "cleanest": [
            {"start_utc": shift.start_utc, "kg_co2e": shift.kg_co2e} for shift in answer.shifts
        ],
        "equivalents": [each.to_dict() for each in answer.equivalents],
    }


def _lines(answer: Answer, args: argparse.Namespace) -> Iterator[str]:
    """The answer as text. Equivalents that were asked for are shown, however few there are."""
    from pyprof.export import account
    from pyprof.export.figure import mass

    width = usable_width()
    least = account.LEAST_COUNT if args.equivalents is None else 0.0
    if answer.footprint is not None:
        yield from account.footprint_lines(answer.footprint, width)
    elif answer.kg is not None:
        yield from account.entry("carbon", mass(answer.kg), width)
    if answer.per_day_kg is not None:
        yield from account.entry("per day", _a_day(answer), width)
    parts = (
        account.zone_lines(answer.zones, width) if answer.zones else (),
        account.shift_lines(answer.shifts, width) if answer.shifts else (),
        account.equivalent_lines(answer.equivalents, width, least),
    )
    above = answer.kg is not None
    for part in map(list, parts):
        if part and above:
            yield ""
        yield from part
        above = above or bool(part)


def _a_day(answer: Answer) -> str:
    """Carbon per day, as unsure as the whole."""
    from pyprof.export.figure import mass

    share = answer.per_day_kg / answer.kg if answer.per_day_kg and answer.kg else 0.0
    ends = (None if end is None else end * share for end in (answer.low_kg, answer.high_kg))
    return mass(answer.per_day_kg, *ends)
