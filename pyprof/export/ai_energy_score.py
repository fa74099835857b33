"""Energy per thousand queries in the style of the AI Energy Score: the GPUs' alone, by phase."""

from __future__ import annotations

import json
from typing import Any

from pyprof.errors import UsageError
from pyprof.export.subject import Subject


def ai_energy_score(subject: Subject) -> dict[str, Any]:
    """Wh per 1000 queries. It is in-band and not at the wall, and says so."""
    report = subject.report
    if report is None:
        raise UsageError("energy per 1000 queries needs a recording: it counts the GPUs alone")
    unit, count = subject.units
    gpu_j = report.total.by_domain.get("gpu")
    if gpu_j is None:
        raise UsageError("no GPU has an energy figure in this recording")
    gpus = {c.id for c in report.channel_rows if c.domain == "gpu" and c.counted}
    return {
        "wh_per_1000_queries": gpu_j / 3600.0 / count * 1000.0,
        "functional_unit": unit,
        "queries": count,
        "boundary": "GPU only, read in-band, not at the wall",
        "task": subject.task,
        "hardware": subject.devices,
        "quality": sorted({c.quality for c in report.channel_rows if c.id in gpus}),
        "by_stage": {
            row.path or "(whole run)": _stage_wh(row.channels, gpus, count)
            for row in report.stage_rows
        },
    }


def render_ai_energy_score(subject: Subject) -> str:
    """The score as JSON text."""
    return json.dumps(ai_energy_score(subject), indent=2) + "\n"


def _stage_wh(channels: Any, gpus: set[str], count: float) -> float | None:
    """Wh of the GPUs in one stage per 1000 queries, nested stages included."""
    known = [channels[name] for name in gpus if channels.get(name) is not None]
    return sum(known) / 3600.0 / count * 1000.0 if known else None
