"""The figures that published studies print, by name: a formula and the unit it is asked in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyprof.carbon import formulas as of
from pyprof.carbon.case_inputs import ENERGY_UNITS, MASS_UNITS, Inputs
from pyprof.carbon.formulas import Compute
from pyprof.carbon.toml import refuse_unknown
from pyprof.errors import UsageError


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure that can be asked for: its function, its unit and whether models add up."""

    compute: Compute
    unit: float
    adds_up: bool

    def of(self, given: Inputs) -> float:
        """The figure in the unit of its name."""
        return self.compute(given) / self.unit


_ENERGIES: dict[str, Compute] = {
    "energy_{}": of.energy,
    "it_energy_{}": of.it_energy,
    "dynamic_{}": of.dynamic,
    "idle_{}": of.idle,
    "infrastructure_{}": of.infrastructure,
    "rows_sum_{}": of.rows_sum,
    "total_{}": of.total_energy,
}
_MASSES: dict[str, Compute] = {
    "operational_{}": of.operational,
    "it_operational_{}": of.it_operational,
    "dynamic_{}": of.priced(of.dynamic),
    "idle_{}": of.priced(of.idle),
    "infrastructure_{}": of.priced(of.infrastructure),
    "embodied_{}": of.embodied,
    "embodied_servers_{}": of.embodied_servers,
    "embodied_gpus_{}": of.embodied_gpus,
    "total_{}": of.total,
    "sci_embodied_{}": of.sci_embodied,
}
_MASS_RATES: dict[str, Compute] = {
    "embodied_{}_per_server_hour": of.embodied_per_server_hour,
    "embodied_{}_per_gpu_hour": of.embodied_per_gpu_hour,
    "embodied_{}_per_device_hour": of.embodied_per_gpu_hour,
    "{}_per_day": of.kg_per_day,
    "{}_per_window_day": of.kg_per_window_day,
    "{}_per_request": of.kg_per_request,
    "{}_per_1000_requests": of.kg_per_1000_requests,
    "{}_per_served_request": of.kg_per_served_request,
    "sci_{}_per_unit": of.sci,
    "factor_{}_per_kwh": of.factor,
}
_ENERGY_RATES: dict[str, Compute] = {
    "{}_per_day": of.kwh_per_day,
    "{}_per_request": of.kwh_per_request,
    "{}_per_1000_requests": of.kwh_per_1000_requests,
    "{}_per_served_request": of.kwh_per_served_request,
}
_PLAIN: dict[str, Compute] = {
    "gpu_share": of.share(of.domain("gpu"), of.as_stated),
    "cpu_share": of.share(of.domain("cpu"), of.as_stated),
    "ram_share": of.share(of.domain("ram"), of.as_stated),
    "final_model_share": of.share(of.final_model, of.as_stated),
    "dynamic_share": of.share(of.priced(of.dynamic), of.total),
    "idle_share": of.share(of.priced(of.idle), of.total),
    "infrastructure_share": of.share(of.priced(of.infrastructure), of.total),
    "embodied_share": of.share(of.embodied, of.total),
    "requests_per_hour": of.requests_per_hour,
    "requests_per_day": of.requests_per_day,
    "parity_requests": of.parity,
    "parity_inferences": of.parity,
    "parity_days": of.parity_days,
}
_HOURS: dict[str, Compute] = {"gpu_hours": of.device_hours, "server_hours": of.server_hours}
_ONE = {"": 1.0}
_PER_MWH = {unit: by / ENERGY_UNITS["mwh"] for unit, by in MASS_UNITS.items()}


def _expand(
    table: Mapping[str, Compute], units: Mapping[str, float], *, adds_up: bool
) -> dict[str, Quantity]:
    """Every pattern in every unit."""
    return {
        pattern.format(unit): Quantity(compute, by, adds_up)
        for pattern, compute in table.items()
        for unit, by in units.items()
    }


#: Everything that can be asked for, by name.
QUANTITIES: Mapping[str, Quantity] = {
    **_expand(_ENERGIES, ENERGY_UNITS, adds_up=True),
    **_expand(_MASSES, MASS_UNITS, adds_up=True),
    **_expand(_HOURS, _ONE, adds_up=True),
    **_expand(_MASS_RATES, MASS_UNITS, adds_up=False),
    **_expand({"factor_{}_per_mwh": of.factor}, _PER_MWH, adds_up=False),
    **_expand(_ENERGY_RATES, ENERGY_UNITS, adds_up=False),
    **_expand(_PLAIN, _ONE, adds_up=False),
}


def find_quantity(name: object, where: str) -> Quantity:
    """The quantity of that name; an unknown one is refused by name."""
    if not isinstance(name, str):
        raise UsageError(f"{where}: quantity must be a text, not {name!r}")
    refuse_unknown([name], QUANTITIES, where, "quantity")
    return QUANTITIES[name]
