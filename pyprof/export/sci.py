"""Software Carbon Intensity, ISO/IEC 21031:2024: (O + M) per R, with its boundary.

A rate, never zero; contracts and certificates do not lower it. For AI the scores of who makes a
model and of who uses it stay apart: making is not spread over requests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyprof.carbon.embodied import Holding
from pyprof.carbon.lifecycle import LifeCycle
from pyprof.carbon.units import HOURS_PER_YEAR
from pyprof.errors import UsageError
from pyprof.export.subject import Subject

STANDARD = "ISO/IEC 21031:2024 (SCI)"


def sci(subject: Subject) -> dict[str, Any]:
    """The score of one workload, in grams per functional unit."""
    unit, count = subject.units
    footprint = subject.footprint
    operational_g = 1000.0 * subject.kg
    made_kg = footprint.aside.embodied_kg
    embodied_g = 0.0 if made_kg is None else 1000.0 * made_kg
    score = (operational_g + embodied_g) / count
    if score <= 0.0:
        raise UsageError("an SCI score is never zero: the energy or its factor is")
    return {
        "standard": STANDARD,
        "software": subject.title,
        "sci_g_per_unit": score,
        "R": {"functional_unit": unit, "count": count},
        "O_g": operational_g,
        "M_g": None if made_kg is None else embodied_g,
        "E_kwh": subject.all_kwh,
        "I": [factor.to_dict() for factor in footprint.factors],
        "embodied": [_embodied(holding) for holding in footprint.aside.embodied],
        "boundary": _boundary(subject),
        "exclusions": _exclusions(subject),
        "low_high_kg": [footprint.low_kg, footprint.high_kg],
    }


def sci_for_ai(cycle: LifeCycle) -> dict[str, Any]:
    """The provider's and the consumer's score of a model, apart."""
    used = cycle.by_phase.get("deployment")
    made = {phase: kg for phase, kg in cycle.by_phase.items() if phase != "deployment"}
    return {
        "standard": "SCI for AI (Green Software Foundation)",
        "model": cycle.name,
        "provider": {
            "g": 1000.0 * sum(made.values()) if made else None,
            "R": {"functional_unit": "model", "count": 1},
            "by_phase_g": {phase: 1000.0 * kg for phase, kg in made.items()},
        },
        "consumer": None if used is None else _consumer(cycle),
        "exclusions": [*cycle.excluded, "manufacturing is in the provider's score"],
    }


def render_sci(subject: Subject) -> str:
    """The score as JSON text."""
    return json.dumps(sci(subject), indent=2) + "\n"


def _consumer(cycle: LifeCycle) -> dict[str, Any] | None:
    """The score of use; without a count of requests there is no rate."""
    if cycle.use is None:
        return None
    return {
        "g_per_unit": cycle.use.g_per_request,
        "R": {"functional_unit": "request", "count": cycle.use.requests},
    }


def _embodied(holding: Holding) -> Mapping[str, Any]:
    """M = TE x (TiR / EL) x (RR / ToR), with its terms."""
    return {
        "component": holding.component.name,
        "TE_kg": holding.component.kg_co2e,
        "TiR_hours": holding.hours,
        "EL_hours": holding.lifetime_years * HOURS_PER_YEAR * holding.utilisation,
        "RR_over_ToR": holding.share,
        "M_kg": holding.kg_co2e,
        "clock": holding.clock,
        "basis": holding.component.basis,
        "source": holding.component.source,
    }


def _boundary(subject: Subject) -> list[str]:
    """What is in the score."""
    boundary = ["energy of the devices that were counted"]
    if subject.report is not None:
        boundary[0] += f" ({subject.report.run.covers or subject.report.run.scope})"
        boundary += [c.id for c in subject.report.channel_rows if c.counted]
    if subject.footprint.scenario.pue is not None:
        boundary.append(f"facility overhead, PUE {subject.footprint.scenario.pue:g}")
    boundary += [f"manufacturing: {h.component.name}" for h in subject.footprint.aside.embodied]
    return boundary


def _exclusions(subject: Subject) -> list[str]:
    """What is not, and why."""
    excluded = ["end of life and transport beyond each row's scope: no figures"]
    if subject.footprint.scenario.pue is None:
        excluded.append("facility overhead: no PUE given")
    if not subject.footprint.aside.embodied:
        excluded.append("manufacturing (M): no hardware given, so the score is incomplete")
    if subject.report is not None and subject.report.total.unmeasured:
        names = ", ".join(subject.report.total.unmeasured)
        excluded.append(f"devices without an energy figure: {names}")
    return excluded
