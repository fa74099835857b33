"""The emissions block of a model card on the Hugging Face hub. Its unit is the gram."""

from __future__ import annotations

from pyprof.carbon.bounds import round_to
from pyprof.export.subject import Subject
from pyprof.export.yaml_scalar import scalar


def render_model_card(subject: Subject) -> str:
    """The block as YAML, with what is in it and what is not as comments."""
    fields: dict[str, str | float | None] = {
        "emissions": 1000.0 * subject.kg,
        "source": _source(subject),
        "training_type": subject.task,
        "geographical_location": _place(subject),
        "hardware_used": subject.devices,
    }
    lines = ["co2_eq_emissions:"]
    lines += [f"  {key}: {scalar(value)}" for key, value in fields.items() if value is not None]
    lines.append("# emissions are grams of CO2e")
    lines += [f"# {line}" for line in _scopes(subject)]
    return "\n".join(lines) + "\n"


def _source(subject: Subject) -> str:
    """The tool, and the factors it used."""
    factors = "; ".join(factor.describe() for factor in subject.footprint.factors)
    version = "" if subject.report is None else f" {subject.report.pyprof_version}"
    return f"pyprof{version}; {factors}"


def _place(subject: Subject) -> str | None:
    """Where the energy was used: the zone as given, with the factor's own name for it."""
    zone = subject.footprint.zone
    name = subject.footprint.factors[0].name
    return zone if zone is None or zone == name else f"{name} ({zone})"


def _scopes(subject: Subject) -> list[str]:
    """Which parts of the life cycle are in."""
    phases = ", ".join(subject.footprint.by_phase) or "none"
    lines = [f"phases: {phases}; operational only, manufacturing is not in it"]
    made = subject.footprint.aside.embodied_kg
    if made is not None:
        lines.append(f"manufacturing, apart: {_shown(made)} g")
    low, high = subject.footprint.low_kg, subject.footprint.high_kg
    if low is not None and high is not None:
        lines.append(f"interval: {_shown(low)} to {_shown(high)} g")
    return lines + [" ".join(note.split()) for note in subject.footprint.notes]


def _shown(kg: float) -> str:
    """Kilograms as grams, with four digits."""
    return f"{round_to(1000.0 * kg, 4):.12g}"
