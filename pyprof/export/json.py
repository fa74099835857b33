"""The report as JSON, schema ``pyprof.report/1``. Unknown is null, never 0."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import resources
from typing import Any, cast

from pyprof.energy import SCHEMA, Channel, EnergyReport, Overhead, Stage, Total

SCHEMA_FILE = "report.schema.json"


def report_dict(report: EnergyReport) -> dict[str, Any]:
    """``report`` as plain values, ready for :func:`json.dumps`."""
    footprint = report.footprint
    document = {
        "schema": SCHEMA,
        "pyprof_version": report.pyprof_version,
        "run": _values(report.run),
        "sources": [_values(source) for source in report.sources],
        "channels": [_channel(channel) for channel in report.channel_rows],
        "stages": [_stage(stage) for stage in report.stage_rows],
        "total": _total(report.total),
        "events": [_values(event) for event in report.events],
        "footprint": None if footprint is None else footprint.to_dict(),
        "baseline": report.baseline,
        "remainders": report.remainders,
        "shares": report.shares,
        "conditions": report.conditions,
        "overhead": _overhead(report.overhead),
    }
    return cast("dict[str, Any]", _plain(document))


def report_json(report: EnergyReport) -> str:
    """``report`` as text, one trailing line end; ASCII, so that any name survives any pipe."""
    return json.dumps(report_dict(report), indent=2, allow_nan=False) + "\n"


def load_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) that every report of this version follows."""
    text = resources.files(__package__).joinpath(SCHEMA_FILE).read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


def _values(row: Any) -> dict[str, Any]:
    """The fields of a flat dataclass."""
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _channel(channel: Channel) -> dict[str, Any]:
    """A channel; an empty device or source is unknown."""
    row = _values(channel)
    return row | {"device": row["device"] or None, "source": row["source"] or None}


def _stage(stage: Stage) -> dict[str, Any]:
    """A stage with what was solved from its repeats."""
    return _values(stage) | {"solved": [_values(solved) for solved in stage.solved]}


def _total(total: Total) -> dict[str, Any]:
    """The total with its kilowatt-hours."""
    return _values(total) | {"energy_kwh": total.energy_kwh}


def _overhead(cost: Overhead) -> dict[str, Any]:
    """What measuring cost, with a row for each source."""
    rows = None if cost.sources is None else [_values(row) for row in cost.sources]
    return _values(cost) | {"sources": rows}


def _plain(value: Any) -> Any:
    """JSON types only; what is not a number becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return _plain(_values(value))
    return value
