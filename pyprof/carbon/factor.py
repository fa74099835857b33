"""A factor: grams of CO2e per kilowatt-hour, with everything needed to trust or doubt it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyprof.carbon.units import require_number
from pyprof.errors import UsageError

LIFECYCLE = "lifecycle"
DIRECT = "direct"
KINDS = (LIFECYCLE, DIRECT)
KIND_WORDS = {LIFECYCLE: "life-cycle", DIRECT: "direct"}
SIGNALS = ("average", "marginal")
ACCOUNTS = ("location", "market")
STALE_AFTER_YEARS = 3
_TEXTS = (
    "name", "kind", "basis", "source", "licence", "note", "gases", "signal", "accounting",
)  # fmt: skip
USER_SOURCE = "given by the user"


@dataclass(frozen=True, slots=True)
class Factor:
    """One carbon intensity with its provenance. ``zone`` is None for a user's own figure.

    ``kind`` is ``lifecycle`` (upstream and construction included) or ``direct`` (combustion at
    the plant only); ``basis`` is ``production`` or ``consumption``; ``signal`` is ``average`` or
    ``marginal``; ``accounting`` is ``location`` or ``market``.
    """

    g_per_kwh: float
    zone: str | None
    name: str
    year: int | None
    kind: str
    basis: str
    source: str
    licence: str
    note: str = ""
    gases: str = "CO2e"
    signal: str = "average"
    accounting: str = "location"

    @property
    def kg_per_j(self) -> float:
        """Kilograms of CO2e per joule."""
        return self.g_per_kwh / 3.6e9

    def is_stale(self, today_year: int | None = None) -> bool:
        """Whether the year it describes lies more than three years back."""
        if self.year is None:
            return False
        now = time.gmtime().tm_year if today_year is None else today_year
        return now - self.year > STALE_AFTER_YEARS

    @property
    def licence_confirmed(self) -> bool:
        """Whether the licence was read at its origin."""
        return "second hand" not in self.note and "check before" not in self.licence

    @property
    def source_read(self) -> bool:
        """Whether the figure was read at its source, not through another list."""
        return " via " not in self.source

    def warnings(self, today_year: int | None = None) -> tuple[str, ...]:
        """What a reader should know before trusting the figure, one sentence each."""
        label = self.zone or self.name
        checks = (
            (self.is_stale(today_year), f"the factor of {label} describes {self.year}: stale"),
            (
                not self.licence_confirmed,
                f"the licence of the {label} factor ({self.licence}) was not confirmed at its "
                "origin",
            ),
            (not self.source_read, f"the figure of {label} was not read at its source"),
            (self.gases != "CO2e", f"the factor of {label} counts {self.gases}"),
        )
        return tuple(text for holds, text in checks if holds)

    def describe(self) -> str:
        """One line for a report."""
        year = "year unknown" if self.year is None else str(self.year)
        where = f"{self.name} [{self.zone}], " if self.zone else ""
        return (
            f"{self.g_per_kwh:g} gCO2e/kWh: {where}{KIND_WORDS[self.kind]}, {year}, "
            f"{self.source} ({self.licence or 'no licence stated'})"
        )

    def to_dict(self) -> dict[str, Any]:
        """The factor in the form of the JSON contract, and a little more."""
        return {
            "g_per_kwh": self.g_per_kwh,
            "zone": self.zone,
            "year": self.year,
            "kind": self.kind,
            "basis": self.basis,
            "source": self.source,
            "licence": self.licence,
            "name": self.name,
            "gases": self.gases,
            "signal": self.signal,
            "accounting": self.accounting,
            "note": self.note,
        }


def check_kind(kind: str) -> str:
    """``kind`` if it is one of the two."""
    if kind not in KINDS:
        raise UsageError(f"kind must be 'lifecycle' or 'direct', not {kind!r}")
    return kind


def factor_from_dict(values: Mapping[str, Any]) -> Factor:
    """The factor that :meth:`Factor.to_dict` wrote; what can't be one is refused."""
    g_per_kwh, zone, year = values["g_per_kwh"], values["zone"], values["year"]
    require_number(g_per_kwh, "g_per_kwh")
    check_kind(values["kind"])
    if type(year) not in (int, type(None)):
        raise UsageError(f"year must be a whole number, not {year!r}")
    texts = {name: values[name] for name in _TEXTS if name in values}
    for name, text in (*texts.items(), ("zone", zone or "")):
        if not isinstance(text, str):
            raise UsageError(f"{name} must be a text, not {text!r}")
    return Factor(g_per_kwh=g_per_kwh, zone=zone, year=year, **texts)


def user_factor(g_per_kwh: float, kind: str, zone: str | None = None) -> Factor:
    """A factor that the user states; its kind is taken as the one asked for."""
    return Factor(
        g_per_kwh=g_per_kwh,
        zone=zone,
        name=zone or USER_SOURCE,
        year=None,
        kind=check_kind(kind),
        basis="stated",
        source=USER_SOURCE,
        licence="",
    )
