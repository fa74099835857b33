"""The formulas of published studies, as small functions of a case's named inputs.

Stated energies are IT energy unless ``energy_includes_pue``; ``energy_*`` and ``operational_*``
include the PUE, ``it_*`` never do. Nothing is rounded on the way: published intermediate figures
are rounded for print, and to compute with them loses up to 11 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pyprof.carbon.case_inputs import Inputs
from pyprof.carbon.units import HOURS_PER_YEAR
from pyprof.errors import UsageError

Compute = Callable[[Inputs], float]


def _stated_kwh(given: Inputs) -> float | None:
    """The energy that the study states, as it stands there."""
    for name in ("energy_kwh", "total_kwh"):
        if given.get(name) is not None:
            return given.get(name)
    parts = ("dynamic_kwh", "idle_kwh", "infrastructure_kwh")
    if given.get("dynamic_kwh") is not None:
        return math.fsum(given.get(name) or 0.0 for name in parts)
    if given.rows_kwh is not None:
        return math.fsum(given.rows_kwh)
    domains = [given.get(f"{name}_kwh") for name in ("gpu", "cpu", "ram")]
    known = [kwh for kwh in domains if kwh is not None]
    return math.fsum(known) if known else _stated_training(given)


def _stated_training(given: Inputs) -> float | None:
    """Training and fine-tuning, where a study states them one by one."""
    training = given.get("training_kwh")
    return None if training is None else training + (given.get("finetuning_kwh") or 0.0)


def _estimated_kwh(given: Inputs) -> float:
    """Device hours times watts; the watts are what the study took for them, often the TDP."""
    whole = given.get("watts_total")
    if whole is not None:
        return whole * _clock_hours(given) / 1000.0
    each = given.get("kwh_per_request")
    if each is not None and given.get("device_watts") is None:
        return each * given.need("requests")
    return device_hours(given) * given.need("device_watts") / 1000.0


def _clock_hours(given: Inputs) -> float:
    """Hours on the clock."""
    hours = given.get("hours")
    if hours is not None:
        return hours
    days = given.get("days")
    if days is None:
        raise UsageError(f"{given.where}: the input 'hours' or 'days' is missing")
    return days * 24.0


def device_hours(given: Inputs) -> float:
    """Hours of all devices summed."""
    hours = given.get("gpu_hours")
    if hours is not None:
        return hours
    devices = given.get("devices")
    if devices is None:
        raise UsageError(
            f"{given.where}: an energy is missing: give energy_kwh, or gpu_hours (or devices and "
            "hours) with gpu_watts"
        )
    return devices * _clock_hours(given)


def it_energy(given: Inputs) -> float:
    """IT energy, without the overhead of the facility."""
    stated = _stated_kwh(given)
    if stated is None:
        idle = (given.get("idle_kwh") or 0.0) + (given.get("infrastructure_kwh") or 0.0)
        return _estimated_kwh(given) + idle
    return stated / given.need("pue") if given.energy_includes_pue else stated


def energy(given: Inputs) -> float:
    """Energy with the overhead of the facility, applied once."""
    stated = _stated_kwh(given)
    if stated is not None and given.energy_includes_pue:
        return stated
    if given.get("energy_kwh") is None:
        _refuse_overhead_twice(given)
    return it_energy(given) * given.pue


def _refuse_overhead_twice(given: Inputs) -> None:
    """A measured idle or infrastructure row and a PUE are two answers to one question."""
    row = next((n for n in ("idle_kwh", "infrastructure_kwh") if given.get(n) is not None), None)
    if row is not None and given.pue > 1.0:
        raise UsageError(
            f"{given.where}: {row} and a pue above 1 both describe the overhead: give one of them"
        )


def _overhead(given: Inputs) -> float:
    """What a stated part of the energy is multiplied by."""
    if given.energy_includes_pue:
        return 1.0
    _refuse_overhead_twice(given)
    return given.pue


def dynamic(given: Inputs) -> float:
    """Energy of the work itself, as it is stated: the overhead is no part of it."""
    for name in ("dynamic_kwh", "energy_kwh"):
        stated = given.get(name)
        if stated is not None:
            return stated
    return _estimated_kwh(given)


def idle(given: Inputs) -> float:
    """Energy of everything that is on while no work is done, as it is stated."""
    return given.need("idle_kwh")


def infrastructure(given: Inputs) -> float:
    """Energy of what surrounds the devices, as it is stated."""
    return given.need("infrastructure_kwh")


def rows_sum(given: Inputs) -> float:
    """The sum of the rows of a table."""
    if given.rows_kwh is None:
        raise UsageError(f"{given.where}: the input 'rows_kwh' is missing")
    return math.fsum(given.rows_kwh)


def operational(given: Inputs) -> float:
    """Carbon of the energy, overhead included."""
    return energy(given) * given.need("factor_kg_per_kwh")


def it_operational(given: Inputs) -> float:
    """Carbon of the IT energy alone."""
    return it_energy(given) * given.need("factor_kg_per_kwh")


def priced(part: Compute) -> Compute:
    """The carbon of a part of the energy."""

    def carbon(given: Inputs) -> float:
        """Energy of the part times the factor."""
        return part(given) * given.need("factor_kg_per_kwh")

    return carbon


def _life_hours(given: Inputs) -> float:
    """Hours over which manufacturing is spread."""
    year = given.values.get("hours_per_year", HOURS_PER_YEAR)
    return given.need("lifetime_years") * year * given.values.get("utilisation", 1.0)


def embodied_per_server_hour(given: Inputs) -> float:
    """Manufacturing of a server per hour of its use."""
    return given.need("server_embodied_kg") / _life_hours(given)


def embodied_per_gpu_hour(given: Inputs) -> float:
    """Manufacturing of a GPU per hour of its use."""
    return given.need("gpu_embodied_kg") / _life_hours(given)


def _held_gpu_hours(given: Inputs) -> float:
    """Hours for which GPUs are held: the reserved ones where they are known."""
    for name in ("reserved_gpu_hours", "reserved_hours"):
        hours = given.get(name)
        if hours is not None:
            return hours
    return device_hours(given)


def server_hours(given: Inputs) -> float:
    """Hours for which servers are held."""
    for name in ("reserved_server_hours", "server_hours"):
        hours = given.get(name)
        if hours is not None:
            return hours
    servers = given.get("servers")
    if servers is not None:
        return servers * _clock_hours(given)
    per_server = given.get("gpus_per_server")
    reserved = given.get("reserved_hours")
    if per_server is None and reserved is not None:
        return reserved
    return _held_gpu_hours(given) / given.need("gpus_per_server")


def embodied_servers(given: Inputs) -> float:
    """Share of the servers' manufacturing."""
    return embodied_per_server_hour(given) * server_hours(given)


def embodied_gpus(given: Inputs) -> float:
    """Share of the GPUs' manufacturing."""
    return embodied_per_gpu_hour(given) * _held_gpu_hours(given)


def embodied(given: Inputs) -> float:
    """Share of all manufacturing that is stated."""
    stated = given.get("embodied_kg")
    if stated is not None:
        return stated
    parts = []
    if given.get("server_embodied_kg") is not None:
        parts.append(embodied_servers(given))
    if given.get("gpu_embodied_kg") is not None:
        parts.append(embodied_gpus(given))
    if not parts:
        raise UsageError(
            f"{given.where}: the input 'server_embodied_kg' or 'gpu_embodied_kg' is missing"
        )
    return math.fsum(parts)


def total(given: Inputs) -> float:
    """Operational carbon and manufacturing, where it is stated."""
    names = ("embodied_kg", "server_embodied_kg", "gpu_embodied_kg")
    made = embodied(given) if any(given.get(name) is not None for name in names) else 0.0
    return operational(given) + _beside_energy(given) + made


def total_energy(given: Inputs) -> float:
    """All energy, idle and infrastructure rows included."""
    return energy(given) + _rows_beside(given)


def _beside_energy(given: Inputs) -> float:
    """Carbon of idle and infrastructure rows that stand beside an ``energy_kwh``, not in it."""
    beside = _rows_beside(given)
    return beside * given.need("factor_kg_per_kwh") if beside else 0.0


def _rows_beside(given: Inputs) -> float:
    """Idle and infrastructure energy that an ``energy_kwh`` does not hold.

    Beside a ``dynamic_kwh`` it is the whole, which holds them.
    """
    if given.get("energy_kwh") is None or given.get("dynamic_kwh") is not None:
        return 0.0
    rows = [given.get(name) for name in ("idle_kwh", "infrastructure_kwh")]
    beside = math.fsum(kwh for kwh in rows if kwh is not None)
    return beside * _overhead(given) if beside else 0.0


def share(part: Compute, whole: Compute) -> Compute:
    """One quantity as a fraction of another."""

    def share(given: Inputs) -> float:
        """The fraction."""
        return _divide(part(given), whole(given), given)

    return share


def _divide(above: float, below: float, given: Inputs) -> float:
    """A ratio; a zero below has no answer."""
    if below == 0.0:
        raise UsageError(f"{given.where}: a share of nothing has no answer")
    return above / below


def domain(name: str) -> Compute:
    """The stated energy of one component."""

    def stated(given: Inputs) -> float:
        """As stated."""
        return given.need(f"{name}_kwh")

    return stated


def as_stated(given: Inputs) -> float:
    """The whole that stated parts are shares of."""
    stated = _stated_kwh(given)
    return it_energy(given) if stated is None else stated


def final_model(given: Inputs) -> float:
    """The first row of a table: the final model, before its rehearsals."""
    if given.rows_kwh is None:
        raise UsageError(f"{given.where}: the input 'rows_kwh' is missing")
    return given.rows_kwh[0]


def _days(given: Inputs) -> float:
    """The days that a study divides by: its own divisor before the true window."""
    for name in ("days_divisor", "window_days", "days"):
        days = given.get(name)
        if days:
            return days
    hours = given.get("hours")
    if not hours:
        raise UsageError(f"{given.where}: the input 'days_divisor' or 'window_days' is missing")
    return hours / 24.0


def kg_per_day(given: Inputs) -> float:
    """Operational carbon per day."""
    if given.get("requests_per_day") is not None:
        return kwh_per_day(given) * given.need("factor_kg_per_kwh")
    return operational(given) / _days(given)


def kg_per_window_day(given: Inputs) -> float:
    """Operational carbon per day of the true window."""
    return operational(given) / given.need("window_days")


def kwh_per_day(given: Inputs) -> float:
    """Energy per day."""
    daily = given.get("requests_per_day")
    if daily is not None:
        return kwh_per_request(given) * daily
    return energy(given) / _days(given)


def kg_per_request(given: Inputs) -> float:
    """Operational carbon per request."""
    return kwh_per_request(given) * given.need("factor_kg_per_kwh")


def kwh_per_request(given: Inputs) -> float:
    """Energy per request, whether it was served or failed."""
    stated = given.get("kwh_per_request")
    return energy(given) / given.need("requests") if stated is None else stated * _overhead(given)


def kwh_per_served_request(given: Inputs) -> float:
    """Energy per request that was served."""
    served = given.need("requests") - given.need("failed_requests")
    if served <= 0.0:
        raise UsageError(f"{given.where}: no request was served")
    return energy(given) / served


def kg_per_served_request(given: Inputs) -> float:
    """Operational carbon per request that was served."""
    return kwh_per_served_request(given) * given.need("factor_kg_per_kwh")


def requests_per_day(given: Inputs) -> float:
    """Requests per day, by the days that the study divides by."""
    daily = given.get("requests_per_day")
    return given.need("requests") / _days(given) if daily is None else daily


def requests_per_hour(given: Inputs) -> float:
    """Requests per hour of the true window."""
    days = given.get("window_days") or _days(given)
    return given.need("requests") / (days * 24.0)


def parity(given: Inputs) -> float:
    """Requests after which use has taken as much energy as making the model."""
    return it_energy(given) / given.need("kwh_per_request")


def parity_days(given: Inputs) -> float:
    """Days of use after which use has taken as much energy as making the model."""
    return _divide(parity(given), given.need("requests_per_day"), given)


def factor(given: Inputs) -> float:
    """The intensity itself, in another unit."""
    return given.need("factor_kg_per_kwh")


def kg_per_1000_requests(given: Inputs) -> float:
    """Operational carbon per thousand requests."""
    return 1000.0 * kg_per_request(given)


def kwh_per_1000_requests(given: Inputs) -> float:
    """Energy per thousand requests."""
    return 1000.0 * kwh_per_request(given)


def sci_embodied(given: Inputs) -> float:
    """M of the SCI: total embodied x time share x resource share."""
    made = given.need("sci_embodied_kg")
    time_share = given.need("time_reserved_hours") / given.need("expected_lifespan_hours")
    reserved, whole = given.get("resources_reserved"), given.get("total_resources")
    return made * time_share * (1.0 if reserved is None or whole is None else reserved / whole)


def sci(given: Inputs) -> float:
    """(O + M) per R."""
    has_own = given.get("sci_embodied_kg") is not None
    made = sci_embodied(given) if has_own else embodied(given)
    units = given.get("functional_units") or given.need("requests")
    return (operational(given) + made) / units
