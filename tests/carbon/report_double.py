"""A report with known joules, made of the real value types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyprof.energy import Channel, EnergyReport, Overhead, Run, Stage, Total


def make_channel(
    id: str,
    energy_j: float | None,
    *,
    domain: str = "gpu",
    tolerance: float | None = None,
    counted: bool = True,
    scope: str = "node",
    source: str = "",
) -> Channel:
    return Channel(
        id=id,
        domain=domain,
        device=id,
        uuid=None,
        parent=None,
        counted=counted,
        scope=scope,
        quality="measured" if energy_j is not None else "unmeasured",
        method="counter",
        energy_j=energy_j,
        low_j=energy_j,
        high_j=energy_j,
        tolerance=tolerance,
        mean_w=None,
        peak_w=None,
        coverage=1.0,
        update_period_s=0.1,
        source=source,
    )


def make_stage(path: str, phase: str, self_energy_j: float | None) -> Stage:
    return Stage(
        path=path,
        phase=phase,
        count=1,
        processes=1,
        duration_s=1.0,
        wall_s=1.0,
        energy_j=self_energy_j,
        low_j=self_energy_j,
        high_j=self_energy_j,
        self_energy_j=self_energy_j,
        resolved=True,
        unresolved=(),
        by_quality={},
        channels={},
    )


def make_report(
    rows: Sequence[tuple[str, str, float | None]],
    channels: Sequence[Channel] = (),
    *,
    low_j: float | None = None,
    high_j: float | None = None,
    unmeasured: Sequence[str] = (),
    by_quality: Mapping[str, float] | None = None,
) -> EnergyReport:
    known = [joules for _, _, joules in rows if joules is not None]
    total_j = sum(known) if known else None
    return EnergyReport(
        pyprof_version="0",
        run=Run("r", None, None, None, None, 0, 1, 1e-9, 0, None, True, "node"),
        sources=(),
        channel_rows=tuple(channels),
        stage_rows=tuple(make_stage(*row) for row in rows),
        total=Total(
            energy_j=total_j,
            low_j=total_j if low_j is None else low_j,
            high_j=total_j if high_j is None else high_j,
            by_quality=by_quality or ({} if total_j is None else {"measured": total_j}),
            by_domain={},
            unmeasured=tuple(unmeasured),
        ),
        events=(),
        overhead=Overhead(None, None, None, None, None, None),
    )
