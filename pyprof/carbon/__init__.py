"""The accounting half: from joules to kilograms, without hardware and without the native module.

>>> from pyprof.carbon import Scenario, footprint
>>> round(footprint({"training": 433196.0}, Scenario(factor_g_per_kwh=57, pue=1.0)).kg_co2e)
24692
"""

from __future__ import annotations

from pyprof.carbon.compare import EXAMPLE_ZONES, ZoneRow, compare
from pyprof.carbon.factor import Factor
from pyprof.carbon.footprint import Footprint, account, footprint
from pyprof.carbon.grid import Resolution, find_factor, load_grid
from pyprof.carbon.scenario import (
    NO_PLACE,
    Scenario,
    keep_scenario,
    keep_text,
    kept_scenario,
    scenario_in,
)

__all__ = [
    "EXAMPLE_ZONES",
    "NO_PLACE",
    "Factor",
    "Footprint",
    "Resolution",
    "Scenario",
    "ZoneRow",
    "account",
    "compare",
    "find_factor",
    "footprint",
    "keep_scenario",
    "keep_text",
    "kept_scenario",
    "load_grid",
    "scenario_in",
]
