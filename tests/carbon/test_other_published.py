"""Published tables that do not ship with pyprof, written with the documented names."""

from __future__ import annotations

import pytest

from pyprof.carbon.cases import check_cases
from pyprof.carbon.toml import parse_toml

OTHERS = """
[[case]]
id = "llama-3"
source = "model card: 700 W, and PUE 1.1 with 385 g/kWh as in the table of LLaMA 1"
[case.inputs]
gpu_hours = { 8B = 1.3e6, 70B = 6.4e6 }
gpu_watts = 700
pue = 1.1
factor_g_per_kwh = 385
[[case.expect]]
quantity = "operational_t"
expected_by_model = { 8B = 390, 70B = 1900 }
tolerance_rel = 0.015
[[case.expect]]
quantity = "operational_t"
expected = 2290
tolerance_rel = 0.015

[[case]]
id = "llama-1-in-pounds"
source = "the same table, asked in other units"
[case.inputs]
gpu_hours = 1022362
device_watts = 400
pue = 1.1
factor_lb_per_mwh = 848.78
[[case.expect]]
quantity = "operational_t"
expected = 173
tolerance_rel = 0.01
[[case.expect]]
quantity = "operational_lb"
expected = 381400
tolerance_rel = 0.01

[[case]]
id = "bloom-against-others"
source = "Luccioni et al. 2022, table 4: PUE inside in one row and outside in another"
[case.inputs]
energy_mwh = { GPT-3 = 1287, BLOOM = 433 }
factor_g_per_kwh = { GPT-3 = 429, BLOOM = 57 }
pue = { GPT-3 = 1.1, BLOOM = 1.2 }
energy_includes_pue = { GPT-3 = true, BLOOM = false }
[[case.expect]]
quantity = "it_operational_t"
expected_by_model = { GPT-3 = 502, BLOOM = 25 }
tolerance_rel = 0.015
[[case.expect]]
quantity = "operational_t"
expected_by_model = { GPT-3 = 552, BLOOM = 30 }
tolerance_rel = 0.015

[[case]]
id = "bloom-shares"
source = "Luccioni et al. 2022, table 3"
[case.inputs]
dynamic_kwh = 433196
idle_kwh = 256646
gpu_hours = 1082990
gpus_per_server = 8
server_embodied_kg = 2500
gpu_embodied_kg = 150
lifetime_years = 6
utilisation = 0.85
factor_g_per_kwh = 57
[[case.expect]]
quantity = "dynamic_share"
expected = 0.489
tolerance_abs = 0.001
[[case.expect]]
quantity = "idle_share"
expected = 0.289
tolerance_abs = 0.001
[[case.expect]]
quantity = "embodied_share"
expected = 0.222
tolerance_abs = 0.001
[[case.expect]]
quantity = "total_mwh"
expected = 689.8
tolerance_rel = 0.001

[[case]]
id = "bloom-trial-with-914"
source = "the figure that the paper also prints: it does not give 340 kg"
[case.inputs]
energy_kwh = 914
factor_g_per_kwh = 394
requests = 230768
days_divisor = 18
window_days = 17.1528
failed_requests = 5879
[[case.expect]]
quantity = "operational_kg"
expected = 360
tolerance_rel = 0.001
[[case.expect]]
quantity = "wh_per_request"
expected = 3.96
tolerance_rel = 0.001
[[case.expect]]
quantity = "kg_per_window_day"
expected = 20.99
tolerance_rel = 0.001

[[case]]
id = "bloomz-parity"
source = "Luccioni, Jernite, Strubell 2024: 51,686 + 7,571 kWh, 1e-4 kWh an inference"
[case.inputs]
training_kwh = 51686
finetuning_kwh = 7571
kwh_per_inference = 1e-4
[[case.expect]]
quantity = "parity_inferences"
expected = 592570000
tolerance_rel = 0

[[case]]
id = "olmo"
source = "Morrison et al. 2025: readings of GPUs"
[case.inputs]
energy_mwh = { development = 459, training = 913 }
factor_g_per_kwh = { development = 346, training = 342 }
[[case.expect]]
quantity = "operational_t"
expected_by_model = { development = 159, training = 312 }
tolerance_rel = 0.01

[[case]]
id = "die-amortised-three-ways"
source = "150 kg over 6 years at 0.85, 3 years at 1 and 4 years at 1"
[case.inputs]
gpu_embodied_kg = 150
lifetime_years = { bloom = 6, boavizta = 3, sci = 4 }
utilisation = { bloom = 0.85, boavizta = 1.0, sci = 1.0 }
[[case.expect]]
quantity = "embodied_g_per_gpu_hour"
expected_by_model = { bloom = 3.36, boavizta = 5.71, sci = 4.28 }
tolerance_rel = 0.002

[[case]]
id = "strubell-mean-power"
source = "Strubell et al. 2019: a node of 1,515.43 W for 84 h"
[case.inputs]
watts_total = 1515.43
days = 3.5
pue = 1.58
factor_lb_per_kwh = 0.954
[[case.expect]]
quantity = "it_energy_kwh"
expected = 127.3
tolerance_rel = 0.001
[[case.expect]]
quantity = "operational_kg"
expected = 87.03
tolerance_rel = 0.001
"""
OUTCOMES = check_cases(parse_toml(OTHERS, "others"), "others")


@pytest.mark.parametrize(
    "outcome", OUTCOMES, ids=lambda each: f"{each.id}-{each.quantity}-{each.model or ''}"
)
def test_other_published_tables_come_out_as_well(outcome) -> None:
    assert outcome.passes, f"published {outcome.expected}, computed {outcome.computed}"
