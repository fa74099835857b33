"""A row for an ``emissions.csv`` as CodeCarbon writes it, so that dashboards keep working.

Unknown figures are empty cells. ``energy_consumed`` is IT energy; the PUE is in its own column and
in ``emissions``.
"""

from __future__ import annotations

import csv
import io
import os
import platform
from collections.abc import Iterable
from typing import Any

from pyprof.energy import Channel
from pyprof.export.subject import Subject

COLUMNS = (
    "timestamp", "project_name", "run_id", "experiment_id", "duration", "emissions",
    "emissions_rate", "cpu_power", "gpu_power", "ram_power", "cpu_energy", "gpu_energy",
    "ram_energy", "energy_consumed", "water_consumed", "country_name", "country_iso_code",
    "region", "cloud_provider", "cloud_region", "os", "python_version", "codecarbon_version",
    "cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude", "latitude",
    "ram_total_size", "tracking_mode", "cpu_utilization_percent", "gpu_utilization_percent",
    "ram_utilization_percent", "ram_used_gb", "on_cloud", "pue", "wue",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def codecarbon_row(subject: Subject) -> dict[str, Any]:
    """The row by column; an absent column is unknown."""
    footprint = subject.footprint
    provider, _, region = (footprint.zone or "").partition(":")
    row: dict[str, Any] = {
        "project_name": _safe(subject.title),
        "emissions": subject.kg,
        "energy_consumed": subject.it_kwh,
        "water_consumed": footprint.aside.water_on_site_l,
        **_place(subject),
        "cloud_provider": provider if region else None,
        "cloud_region": region or None,
        "on_cloud": "Y" if region else "N",
        "pue": footprint.pue,
        "wue": footprint.scenario.wue_l_per_kwh,
        "gpu_model": _safe(subject.hardware),
    }
    return {**row, **_of_report(subject)}


def _place(subject: Subject) -> dict[str, Any]:
    """The country with its code of three letters, and the state in small letters."""
    from pyprof.carbon.grid import country_of, load_grid

    priced = subject.footprint
    places = load_grid(priced.scenario.factor_table).places
    place = places.get(priced.zone or "")
    if place is None:
        return {"country_name": _safe(priced.zone)}
    grid_zone = places.get(place.parent or place.code, place)
    country = places.get(country_of(grid_zone.code) or "", grid_zone)
    # A subregion of eGRID is no state.
    is_part = grid_zone.code != country.code and "-EGRID-" not in grid_zone.code
    return {
        "country_name": _safe(country.name),
        "country_iso_code": _safe(place.alpha3 or None),
        "region": _safe(grid_zone.name.partition(" (")[0].lower()) if is_part else None,
    }


def render_codecarbon(subject: Subject, header: bool = True) -> str:
    """The row as CSV, with the header unless it goes into a file that has one."""
    row = codecarbon_row(subject)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    writer.writerow(["" if row.get(name) is None else row[name] for name in COLUMNS])
    return text.getvalue()


def _of_report(subject: Subject) -> dict[str, Any]:
    """What only a measured run knows."""
    report = subject.report
    if report is None:
        return {}
    run, seconds = report.run, report.run.duration_s
    domains = {name: j / 3.6e6 for name, j in report.total.by_domain.items()}
    energies = {
        "cpu": domains.get("package", domains.get("psys")),
        "gpu": domains.get("gpu"),
        "ram": domains.get("dram"),
    }
    counted = [c for c in report.channel_rows if c.counted]
    return {
        "timestamp": None if run.start_utc is None else run.start_utc[:19],
        "run_id": run.id,
        "duration": seconds,
        "emissions_rate": subject.kg / seconds if seconds > 0.0 else None,
        **{f"{name}_energy": kwh for name, kwh in energies.items()},
        **{f"{name}_power": _watts(kwh, seconds) for name, kwh in energies.items()},
        "os": platform.platform(),
        "python_version": platform.python_version(),
        "codecarbon_version": f"pyprof {report.pyprof_version}",
        "cpu_count": os.cpu_count(),
        "cpu_model": _models(counted, "package"),
        "gpu_count": sum(c.domain == "gpu" for c in counted) or None,
        "gpu_model": _safe(subject.hardware) or _models(counted, "gpu"),
        "tracking_mode": "process" if run.scope == "process tree" else "machine",
    }


def _models(channels: Iterable[Channel], domain: str) -> str | None:
    """The devices of a domain, alike ones counted, as CodeCarbon writes them."""
    names = [channel.device for channel in channels if channel.domain == domain]
    shown = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
    return _safe("; ".join(shown)) if shown else None


def _watts(kwh: float | None, seconds: float) -> float | None:
    """Mean power."""
    return None if kwh is None or seconds <= 0.0 else kwh * 3.6e6 / seconds


def _safe(text: str | None) -> str | None:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text is not None and text.startswith(_FORMULA) else text
