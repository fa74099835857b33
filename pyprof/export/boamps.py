"""An energy report in the BoAmps format: what was run, what it drew, on what, and where."""

from __future__ import annotations

import json
import platform
import uuid
from datetime import datetime, timezone
from typing import Any

from pyprof.export.subject import Subject

FORMAT = "https://github.com/Boavizta/BoAmps/tree/main/model"
_STAGES = {"deployment": "inference"}
_CLOUDS = {"gcp": "google"}
_COMPONENTS = {"gpu": "gpu", "package": "cpu", "dram": "ram", "module": "cpu"}
# The format's own words for how far a figure may be off.
_QUALITIES = ((0.10, "high"), (0.25, "medium"), (0.50, "low"))
NOT_STATED = "not stated"


def boamps(subject: Subject) -> dict[str, Any]:
    """The report; optional fields that are unknown are left out."""
    report: dict[str, Any] = {
        "header": _header(subject),
        "task": _task(subject),
        "measures": [_measure(subject)],
        "system": {"os": platform.system().lower()},
        "software": {"language": "python", "version": platform.python_version()},
        "infrastructure": _infrastructure(subject),
    }
    factor = subject.footprint.factors[0]
    if factor.zone is not None:
        report["environment"] = {
            "country": factor.name,
            "powerSourceCarbonIntensity": factor.g_per_kwh,
        }
    quality = _quality(subject)
    return report if quality is None else {**report, "quality": quality}


def render_boamps(subject: Subject) -> str:
    """The report as JSON text."""
    return json.dumps(boamps(subject), indent=2) + "\n"


def _header(subject: Subject) -> dict[str, Any]:
    """Who says so, and when."""
    known = None if subject.report is None else subject.report.run.id
    name = known or json.dumps(subject.footprint.to_dict(), sort_keys=True)
    return {
        "formatVersionSpecificationUri": FORMAT,
        "reportId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"pyprof:{name}")),
        "reportDatetime": _when(subject),
        "reportStatus": "draft",
        "publisher": {"projectName": subject.title, "confidentialityLevel": "internal"},
    }


def _when(subject: Subject) -> str:
    """The start of the run, else now, as the format writes it."""
    start = None if subject.report is None else subject.report.run.start_utc
    if start is None:
        return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    return start[:19].replace("T", " ")


def _task(subject: Subject) -> dict[str, Any]:
    """What was run. What only its author knows is said to be not stated."""
    phases = [_STAGES.get(phase, phase) for phase in subject.footprint.by_phase]
    task: dict[str, Any] = {
        "taskStage": "+".join(dict.fromkeys(phases)) or NOT_STATED,
        "taskFamily": subject.task or NOT_STATED,
        "algorithms": [{}],
        "dataset": [{"dataUsage": "input", "dataType": "other"}],
        "taskDescription": subject.title,
    }
    scenario = subject.footprint.scenario
    if scenario.functional_unit == "request" and scenario.functional_units is not None:
        task["nbRequest"] = scenario.functional_units
    return task


def _measure(subject: Subject) -> dict[str, Any]:
    """The energy. The field is called power by the format, and holds kWh."""
    measure: dict[str, Any] = {
        "measurementMethod": "pyprof",
        "powerConsumption": subject.it_kwh,
        "measurementDateTime": _when(subject),
    }
    report = subject.report
    if report is None:
        return measure
    modes = {
        f"{name}TrackingMode": mode
        for name, domain in (("cpu", "package"), ("gpu", "gpu"))
        if (mode := _mode(subject, domain)) is not None
    }
    return {
        **measure,
        **modes,
        "version": report.pyprof_version,
        "measurementDuration": report.run.duration_s,
    }


def _mode(subject: Subject, domain: str) -> str | None:
    """How the energy of a domain is known: the words of the channels that were counted."""
    channels = () if subject.report is None else subject.report.channel_rows
    methods = [c.method for c in channels if c.counted and c.domain == domain]
    return "+".join(dict.fromkeys(methods)) or None


def _infrastructure(subject: Subject) -> dict[str, Any]:
    """On what it ran."""
    provider, _, region = (subject.footprint.zone or "").partition(":")
    place: dict[str, Any] = {"infraType": "publicCloud" if region else "other"}
    if region:
        place["cloudProvider"] = _CLOUDS.get(provider, provider)
    return {**place, "components": _components(subject)}


def _components(subject: Subject) -> list[dict[str, Any]]:
    """The counted devices, alike ones together; the format wants at least one."""
    channels = () if subject.report is None else subject.report.channel_rows
    pairs = [(_COMPONENTS.get(c.domain, c.domain), c.device) for c in channels if c.counted]
    found = [
        {"componentName": name, "componentType": kind, "nbComponent": pairs.count((kind, name))}
        for kind, name in dict.fromkeys(pairs)
    ]
    return found or [
        {
            "componentName": subject.hardware or NOT_STATED,
            "componentType": "other",
            "nbComponent": 1,
        }
    ]


def _quality(subject: Subject) -> str | None:
    """The format's word for the width of the interval; none for a wider one."""
    footprint = subject.footprint
    if not footprint.kg_co2e or footprint.low_kg is None or footprint.high_kg is None:
        return None
    kg = footprint.kg_co2e
    off = max(kg - footprint.low_kg, footprint.high_kg - kg) / kg
    return next((word for limit, word in _QUALITIES if off <= limit), None)
