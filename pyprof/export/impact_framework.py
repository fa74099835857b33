"""A manifest for the Impact Framework: one child per stage, ready for its SCI plug-in.

Carbon is in grams and energy in kWh, as the framework has it. The stages' own energies add up to
the run's, so that summing children counts nothing twice. Every child is observed over the whole
run: a stage is open now and then, and the framework takes no time below a second.
"""

from __future__ import annotations

from collections.abc import Iterator

from pyprof.errors import UsageError
from pyprof.export.subject import Subject
from pyprof.export.yaml_scalar import scalar


def render_impact_framework(subject: Subject) -> str:
    """The manifest as YAML."""
    unit, count = subject.units
    lines = [
        f"name: {scalar(subject.title)}",
        "description: energy and carbon per stage, written by pyprof",
        "initialize:",
        "  plugins:",
        "    sci:",
        "      method: Sci",
        "      path: builtin",
        "      config:",
        f"        functional-unit: {scalar(unit)}",
        "tree:",
        "  children:",
    ]
    lines += [line for name, grams in _children(subject) for line in _child(subject, name, grams)]
    return "\n".join(_with_units(lines, unit, count)) + "\n"


def _children(subject: Subject) -> Iterator[tuple[str, float]]:
    """Stages with their grams."""
    for path, kg in subject.footprint.by_stage.items():
        if kg is not None:
            yield path or "root", 1000.0 * kg


def _child(subject: Subject, name: str, grams: float) -> list[str]:
    """One stage. Manufacturing belongs to the run as a whole, so the first child carries it."""
    first = next(iter(_children(subject)))[0] == name
    made_kg = subject.footprint.aside.embodied_kg
    made = 1000.0 * made_kg if made_kg is not None and first else 0.0
    share = grams / (1000.0 * subject.kg) if subject.kg else 0.0
    start, duration_s = _times(subject)
    return [
        f"    {scalar(name)}:",
        "      pipeline:",
        "        compute:",
        "          - sci",
        "      inputs:",
        f"        - timestamp: {start}",
        f"          duration: {scalar(duration_s)}",
        f"          energy: {scalar(subject.all_kwh * share)}",
        f"          carbon-operational: {scalar(grams)}",
        f"          carbon-embodied: {scalar(made)}",
        f"          carbon: {scalar(grams + made)}",
    ]


def _with_units(lines: list[str], unit: str, count: float) -> Iterator[str]:
    """The manifest with the count of functional units in every input."""
    for line in lines:
        yield line
        if line.startswith("          carbon: "):
            yield f"          {scalar(unit)}: {scalar(count)}"


def _times(subject: Subject) -> tuple[str, float]:
    """When the run began and how long it was; the framework wants both."""
    report = subject.report
    if report is None or report.run.start_utc is None:
        raise UsageError("an Impact Framework manifest needs a recording: its inputs have times")
    if report.run.duration_s < 1.0:
        raise UsageError("the Impact Framework takes no run that is shorter than a second")
    return report.run.start_utc, report.run.duration_s
