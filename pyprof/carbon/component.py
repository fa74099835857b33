"""What it took to make a piece of hardware: the table, and from a device's name to its row."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pyprof.carbon.table import data_path, read_rows
from pyprof.errors import NotComparableError, UsageError

# The choices of the study of BLOOM, which rows that name none are given.
DEFAULT_LIFETIME_YEARS = 6.0
DEFAULT_UTILISATION = 0.85
DATA_CENTRE_FALLBACK = "Accelerator, unknown, data centre class (fallback)"
CONSUMER_FALLBACK = "Accelerator, unknown, consumer or workstation class (fallback)"
_CONSUMER = frozenset({"geforce", "rtx", "gtx", "titan", "radeon", "arc", "quadro"})
_DESIGN_POWERS = os.path.join(os.path.dirname(__file__), "..", "data", "device_power.csv")
# The names that drivers give to parts whose row is called otherwise.
_DRIVER_NAMES = {
    "nvidia h100 80gb hbm3": "NVIDIA H100 SXM5 80GB",
    "nvidia h100 pcie": "NVIDIA H100 PCIe 80GB",
    "nvidia h200": "NVIDIA H200 SXM 141GB",
    "nvidia b200": "NVIDIA B200 SXM 180GB",
    "tesla t4": "NVIDIA T4 16GB",
    "tesla p100-pcie-16gb": "NVIDIA P100 16GB",
    "tesla p100-sxm2-16gb": "NVIDIA P100 16GB",
}
_NOISE = frozenset({"nvidia", "amd", "intel", "google", "gpu"})
# The basis of a figure, in the words under which figures may be compared.
_BASES = {
    "published PCF": "published footprint",
    "published PCF / 8": "published footprint",
    "published parametric LCA": "published study",
    "literature estimate": "literature estimate",
    "modelled": "modelled",
    "modelled distribution": "modelled",
    "database factor": "database factor",
    "pyprof estimate": "estimate",
    "pyprof fallback": "fallback",
    "fallback: no figure read": "fallback",
}


@dataclass(frozen=True, slots=True)
class Component:
    """What it took to make one piece, with the interval its row states."""

    name: str
    kind: str
    unit: str
    kg_co2e: float
    low_kg: float
    high_kg: float
    basis: str
    scope: str
    lifetime_years: float
    utilisation: float
    preferred: bool
    year: int | None
    source: str
    licence: str
    note: str = ""

    @property
    def basis_class(self) -> str:
        """The basis, in the words under which figures may be compared."""
        return _BASES.get(self.basis, self.basis)

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {
            "component": self.name,
            "unit": self.unit,
            "kg_co2e": self.kg_co2e,
            "low_kg": self.low_kg,
            "high_kg": self.high_kg,
            "basis": self.basis,
            "scope": self.scope,
            "year": self.year,
            "source": self.source,
            "licence": self.licence,
            "note": self.note,
        }


def own_component(
    name: str, kg_co2e: float, low_kg: float | None = None, high_kg: float | None = None
) -> Component:
    """A figure that the user states; without an interval it is taken at its word."""
    low = kg_co2e if low_kg is None else low_kg
    high = kg_co2e if high_kg is None else high_kg
    if not low <= kg_co2e <= high:
        raise UsageError(f"embodied {name!r}: low_kg <= kg <= high_kg does not hold")
    return Component(
        name=name,
        kind="stated",
        unit="per piece",
        kg_co2e=kg_co2e,
        low_kg=low,
        high_kg=high,
        basis="stated",
        scope="as stated",
        lifetime_years=DEFAULT_LIFETIME_YEARS,
        utilisation=DEFAULT_UTILISATION,
        preferred=True,
        year=None,
        source="given by the user",
        licence="",
    )


@lru_cache(maxsize=1)
def load_components() -> tuple[Component, ...]:
    """The shipped table."""
    columns = ("component", "kind", "unit", "kgCO2e", "low", "high", "basis", "scope", "source")
    return tuple(
        Component(
            name=row.required("component"),
            kind=row.required("kind"),
            unit=row.required("unit"),
            kg_co2e=row.number("kgCO2e"),
            low_kg=row.number("low"),
            high_kg=row.number("high"),
            basis=row.required("basis"),
            scope=row.required("scope"),
            lifetime_years=row.number("lifetime_years"),
            utilisation=row.number("utilisation"),
            preferred=row.text("preferred") == "yes",
            year=row.year(),
            source=row.required("source"),
            licence=row.required("licence"),
            note=row.text("note"),
        )
        for row in read_rows(data_path("embodied.csv"), columns)
    )


def find_component(name: str, basis: str | None = None) -> tuple[Component, str | None]:
    """The row to use for a piece, and what to say if it is not the piece's own.

    Without ``basis`` it is the preferred row. A piece whose only rows are known to run high uses
    the fallback of its class, with its own row as the high end, and says so.
    """
    rows = _rows_of(name)
    if basis is not None:
        return _on_basis(rows, basis), None
    if rows[0].basis == "pyprof fallback" and rows[0].name.casefold() != name.casefold():
        return rows[0], f"no manufacturing figure for {name}: that of its class is used"
    preferred = [row for row in rows if row.preferred]
    if preferred:
        return preferred[0], None
    if rows[0].kind != "accelerator":
        raise UsageError(f"{rows[0].name!r} is kept to compare with: name a basis to use it")
    return _fallback(rows)


def known_accelerators() -> tuple[str, ...]:
    """Every accelerator with a row of its own, or with a design power and so a class row."""
    own = [row.name for row in load_components() if row.kind == "accelerator"]
    return tuple(dict.fromkeys((*own, *(name for name, _ in _accelerator_classes()))))


def compare_devices(names: Iterable[str], basis: str) -> list[Component]:
    """Several pieces on one basis; a piece without a figure on it makes them not comparable."""
    return [_on_basis(_rows_of(name), basis, NotComparableError) for name in names]


def _fallback(rows: list[Component]) -> tuple[Component, str]:
    """The class row, widened to the piece's own figure."""
    from dataclasses import replace

    fallback = next(row for row in load_components() if row.name == DATA_CENTRE_FALLBACK)
    highest = max(row.kg_co2e for row in rows)
    widened = replace(fallback, high_kg=max(fallback.high_kg, highest))
    return widened, (
        f"{rows[0].name} has only a modelled figure ({highest:g} kg), of a model that runs 3.5 to "
        f"5 times above published ones: {fallback.kg_co2e:g} kg of its class is used, with the "
        "modelled figure as the high end"
    )


def _on_basis(
    rows: list[Component],
    basis: str,
    error: type[UsageError] | type[NotComparableError] = UsageError,
) -> Component:
    """The row of a piece that has the wanted basis."""
    for row in rows:
        if basis in (row.basis, row.basis_class):
            return row
    has = ", ".join(sorted({row.basis_class for row in rows}))
    raise error(f"{rows[0].name} has no figure on the basis {basis!r}; it has: {has}")


def _rows_of(name: str) -> list[Component]:
    """All rows of the one piece that ``name`` means."""
    full = _DRIVER_NAMES.get(name.strip().casefold(), name.strip()).casefold()
    exact = [row for row in load_components() if row.name.casefold() == full]
    if exact:
        return exact
    wanted = _words(name)
    found = [row for row in load_components() if wanted and wanted <= _words(row.name)]
    # A bare model means the device, not the board or die that is named after it.
    found = [row for row in found if row.kind == "accelerator"] or found
    names = list(dict.fromkeys(row.name for row in found))
    if len(names) == 1:
        return found
    if not names:
        classes = [name for words, name in _class_words() if wanted and wanted <= words]
        if classes:
            return [row for row in load_components() if row.name == classes[0]]
    raise UsageError(_unknown_component(name, names))


@lru_cache(maxsize=1)
def _accelerator_classes() -> tuple[tuple[str, str], ...]:
    """Accelerators of the design-power table, each with the row of its class."""
    rows = read_rows(_DESIGN_POWERS, ("kind", "vendor", "model"))
    return tuple(
        (row.required("model"), _class_of(row.required("model")))
        for row in rows
        if row.text("kind") == "accelerator"
    )


def _class_of(model: str) -> str:
    """The class row of a device, by the families that vendors sell to consumers."""
    return CONSUMER_FALLBACK if _words(model) & _CONSUMER else DATA_CENTRE_FALLBACK


@lru_cache(maxsize=1)
def _class_words() -> tuple[tuple[frozenset[str], str], ...]:
    """The same, by the words of the device."""
    return tuple((_words(model), name) for model, name in _accelerator_classes())


def _words(name: str) -> frozenset[str]:
    """The words of a device name that tell it from others; drivers write hyphens."""
    text = name.casefold().replace("-", " ").replace("_", " ").replace(",", " ")
    return frozenset(text.split()) - _NOISE


def _unknown_component(name: str, names: list[str]) -> str:
    """Why a piece was not found, with the nearest names."""
    import difflib

    if names:
        return f"{name!r} could be {', '.join(names[:6])}: give the full name"
    known = list(dict.fromkeys(row.name for row in load_components()))
    lower = {text.casefold(): text for text in known}
    close = difflib.get_close_matches(name.casefold(), lower, n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(lower[text] for text in close)}" if close else ""
    return f"no manufacturing figure for {name!r}{hint}; give your own with kg"
