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

[[case]]
id = "patterson-table-4"
source = "Patterson et al. 2021, arXiv 2104.10350, table 4: chips, watts, days, PUE, net factor"
[case.inputs]
devices = { T5 = 512, Meena = 1024, GShard = 1024, Switch = 1024, GPT-3 = 10000 }
device_watts = { T5 = 310, Meena = 289, GShard = 288, Switch = 245, GPT-3 = 330 }
days = { T5 = 20, Meena = 30, GShard = 3.1, Switch = 27, GPT-3 = 14.8 }
pue = { T5 = 1.12, Meena = 1.09, GShard = 1.09, Switch = 1.10, GPT-3 = 1.10 }
factor_g_per_kwh = { T5 = 545, Meena = 415, GShard = 177, Switch = 330, GPT-3 = 429 }
[[case.expect]]
quantity = "energy_mwh"
expected_by_model = { T5 = 85.7, Meena = 232, GShard = 24.1, Switch = 179, GPT-3 = 1287 }
tolerance_rel = 0.01
[[case.expect]]
quantity = "operational_t"
expected_by_model = { T5 = 46.7, Meena = 96.4, GShard = 4.3, Switch = 59.1, GPT-3 = 552.1 }
tolerance_rel = 0.02

[[case]]
id = "evolved-transformer"
source = "Patterson et al. 2021, table 4: 7.5 MWh and 3.2 t"
[case.inputs]
energy_mwh = 7.5
factor_g_per_kwh = 431
[[case.expect]]
quantity = "operational_t"
expected = 3.2
tolerance_rel = 0.02

[[case]]
id = "strubell-table-3"
source = "Strubell et al. 2019, arXiv 1906.02243, table 3"
[case.inputs]
watts_total = { base = 1415.78, big = 1515.43, ELMo = 517.66, BERT = 12041.51, NAS = 1515.43 }
hours = { base = 12, big = 84, ELMo = 336, BERT = 79, NAS = 274120 }
pue = 1.58
factor_lb_per_kwh = 0.954
[[case.expect]]
quantity = "energy_kwh"
expected_by_model = { base = 27, big = 201, ELMo = 275, BERT = 1507, NAS = 656347 }
tolerance_rel = 0.007
[[case.expect]]
quantity = "operational_lb"
expected_by_model = { base = 26, big = 192, ELMo = 262, BERT = 1438, NAS = 626155 }
tolerance_rel = 0.016

[[case]]
id = "llama-2"
source = "Touvron et al. 2023, arXiv 2307.09288, table 2: GPU hours, watts, tonnes, 539 t in all"
[case.inputs]
gpu_hours = { 7B = 184320, 13B = 368640, 34B = 1038336, 70B = 1720320 }
gpu_watts = { 7B = 400, 13B = 400, 34B = 350, 70B = 400 }
pue = 1.1
factor_g_per_kwh = 385
[[case.expect]]
quantity = "operational_t"
expected_by_model = { 7B = 31.22, 13B = 62.44, 34B = 153.90, 70B = 291.42 }
tolerance_rel = 0.0005
[[case.expect]]
quantity = "operational_t"
expected = 539.00
tolerance_rel = 0.0005

[[case]]
id = "llama-3.1"
source = "model card: GPU hours at 700 W; the factor is what its 11,390 t imply"
[case.inputs]
gpu_hours = { 8B = 1.46e6, 70B = 7.0e6, 405B = 30.84e6 }
gpu_watts = 700
factor_kg_per_kwh = 0.4138
[[case.expect]]
quantity = "operational_t"
expected_by_model = { 8B = 420, 70B = 2040, 405B = 8930 }
tolerance_rel = 0.01
[[case.expect]]
quantity = "gpu_hours"
expected = 39.3e6
tolerance_rel = 0.001

[[case]]
id = "opt-175b"
source = "Luccioni et al. 2022, table 4: 324 MWh, 231 g/kWh, PUE 1.09, Meta's own 75 t"
[case.inputs]
energy_mwh = 324
energy_includes_pue = true
pue = 1.09
factor_g_per_kwh = 231
[[case.expect]]
quantity = "operational_t"
expected = 75
tolerance_rel = 0.005

[[case]]
id = "gemini-prompt"
source = "Google 2025: 0.24 Wh and 0.03 g a median prompt, 0.26 mL of water at 1.08 L/kWh"
[case.inputs]
energy_wh = 0.24
energy_includes_pue = true
pue = 1.09
requests = 1
factor_g_per_kwh = 94
[[case.expect]]
quantity = "wh_per_request"
expected = 0.24
tolerance_rel = 1e-9
[[case.expect]]
quantity = "g_per_request"
expected = 0.023
tolerance_abs = 0.0005
[[case.expect]]
quantity = "wh_per_1000_requests"
expected = 240
tolerance_rel = 1e-9

[[case]]
id = "bigscience-rows-by-name"
source = "Luccioni et al. 2022, table 5, the rows as a table"
[case.inputs]
rows_kwh = { BLOOM = 433196, others = 266522, small = 158972 }
factor_g_per_kwh = 57
[[case.expect]]
quantity = "rows_sum_kwh"
expected = 858690
tolerance_abs = 0
[[case.expect]]
quantity = "operational_t"
expected = 48.945
tolerance_rel = 0.0001
[[case.expect]]
quantity = "final_model_share"
expected = 0.5045
tolerance_abs = 0.0001

[[case]]
id = "energy-is-the-whole-beside-its-parts"
source = "Luccioni et al. 2022, table 3: 433,196 + 256,646 = 689,842 kWh"
[case.inputs]
energy_kwh = 689842
dynamic_kwh = 433196
idle_kwh = 256646
factor_g_per_kwh = 57
[[case.expect]]
quantity = "operational_t"
expected = 39.32
tolerance_rel = 0.0005
[[case.expect]]
quantity = "total_t"
expected = 39.32
tolerance_rel = 0.0005
[[case.expect]]
quantity = "dynamic_t"
expected = 24.69
tolerance_rel = 0.0005
[[case.expect]]
quantity = "idle_share"
expected = 0.372
tolerance_abs = 0.0005

[[case]]
id = "sci-of-an-hour-of-an-eighth"
source = "the SCI's own formula: 1,533.12 g over three years, an hour of one part in eight"
[case.inputs]
sci_embodied_g = 1533.12
time_reserved_hours = 1
expected_lifespan_hours = 26280
resources_reserved = 1
total_resources = 8
energy_kwh = 0.001
factor_g_per_kwh = 100
functional_units = 10
[[case.expect]]
quantity = "sci_embodied_g"
expected = 0.0072922
tolerance_rel = 0.0001
[[case.expect]]
quantity = "sci_g_per_unit"
expected = 0.01072922
tolerance_rel = 0.0001
"""
OUTCOMES = check_cases(parse_toml(OTHERS, "others"), "others")


@pytest.mark.parametrize(
    "outcome", OUTCOMES, ids=lambda each: f"{each.id}-{each.quantity}-{each.model or ''}"
)
def test_other_published_tables_come_out_as_well(outcome) -> None:
    assert outcome.passes, f"published {outcome.expected}, computed {outcome.computed}"
