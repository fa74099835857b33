"""What is estimated where nothing can be read, and that a name never gets another part's watts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyprof import model


@pytest.mark.parametrize(
    ("name", "row", "watts"),
    [
        ("AMD EPYC 7543 32-Core Processor", "EPYC 7543", 225),
        ("AMD EPYC 7543P 32-Core Processor", "EPYC 7543P", 225),
        ("AMD EPYC 75F3 32-Core Processor                ", "EPYC 75F3", 280),
        ("AMD EPYC 9754S 128-Core Processor", "EPYC 9754S", 360),
        ("AMD EPYC 7551P 32-Core Processor", "EPYC 7551P", 180),
        ("Intel(R) Xeon(R) Gold 6154 CPU @ 3.00GHz", "Xeon Gold 6154", 200),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "Xeon E5-2680 v4", 120),
        ("Intel(R) Xeon(R) CPU E5-2690 v2 @ 3.00GHz", "Xeon E5-2690 v2", 130),
        ("INTEL(R) XEON(R) PLATINUM 8592+", "Xeon Platinum 8592+", 350),
        ("Intel(R) Xeon(R) Platinum 8480+", "Xeon Platinum 8480+", 350),
        ("Intel(R) Xeon(R) CPU Max 9480", "Xeon CPU Max 9480", 350),
        ("Intel(R) Xeon(R) 6972P", "Xeon 6972P", 500),
        ("Intel(R) Xeon(R) W-2145 CPU @ 3.70GHz", "Xeon W-2145", 140),
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", "Core i7-8700K", 95),
        ("11th Gen Intel(R) Core(TM) i9-11900K @ 3.50GHz", "Core i9-11900K", 125),
        ("AMD Ryzen 9 5950X 16-Core Processor", "Ryzen 9 5950X", 105),
        ("AMD Ryzen 7 5800H with Radeon Graphics", "Ryzen 7 5800H", 45),
        ("AMD Ryzen 7 7840U w/ Radeon 780M Graphics", "Ryzen 7 7840U", 28),
        ("AMD Ryzen 5 3500U with Radeon Vega Mobile Gfx", "Ryzen 5 3500U", 15),
        ("AMD Ryzen 9 7950X3D 16-Core Processor", "Ryzen 9 7950X3D", 120),
        ("AMD Ryzen Threadripper PRO 5995WX 64-Cores", "Ryzen Threadripper PRO 5995WX", 280),
        ("AMD Ryzen Threadripper 3990X 64-Core Processor", "Ryzen Threadripper 3990X", 280),
        ("Ampere(R) Altra(R) Processor Q80-30", "Altra Q80-30", 210),
        ("Ampere(R) Altra(R) Max Processor M128-30", "Altra Max M128-30", 250),
    ],
)
def test_a_known_cpu_has_the_watts_of_its_own_row(name: str, row: str, watts: float) -> None:
    found = model.find_cpu(name)
    assert found is not None
    assert (found.model, found.power_w) == (row, watts)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "AMD EPYC",
        "AMD EPYC Processor",
        "AMD EPYC-Milan Processor",
        "AMD EPYC 7R13 Processor",
        "AMD EPYC 7543X 32-Core Processor",
        "AMD EPYC 754 32-Core Processor",
        "AMD EPYC 9V84 96-Core Processor",
        "AMD Ryzen 7 PRO 5750G with Radeon Graphics",
        "AMD Ryzen 5 5600XD 6-Core Processor",
        "Intel(R) Xeon(R) Platinum 8488C",
        "Intel(R) Xeon(R) Platinum 8480C",
        "Intel(R) Xeon(R) Platinum 8592",
        "Intel(R) Xeon(R) CPU E5-2690 0 @ 2.90GHz",
        "Intel(R) Xeon(R) CPU @ 2.20GHz",
        "Intel(R) Core(TM) i9-9900KS CPU @ 4.00GHz",
        "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz",
        "Intel Xeon Processor (Skylake, IBRS)",
        "Common KVM processor",
    ],
)
def test_an_unknown_cpu_has_no_row(name: str) -> None:
    assert model.find_cpu(name) is None


def _by_name(row: model.Row) -> str:
    return row.model


_CPUS = sorted((row for row in model.rows() if row.kind == "cpu"), key=_by_name)


@given(row=st.sampled_from(_CPUS), suffix=st.sampled_from(["P", "X", "L", "+", "9", "F", "QS"]))
def test_a_letter_more_is_another_part(row: model.Row, suffix: str) -> None:
    bare = row.model.replace(" (OEM Only)", "")
    found = model.find_cpu(f"{bare}{suffix} 32-Core Processor")
    assert found is None or model.plain_name(found.model) == model.plain_name(bare + suffix)


@given(row=st.sampled_from(_CPUS))
def test_every_row_is_found_under_its_own_name_with_its_own_watts(row: model.Row) -> None:
    found = model.find_cpu(row.model)
    same_name = {
        other.power_w
        for other in _CPUS
        if model.plain_name(other.model) == model.plain_name(row.model)
    }
    assert (found is None) == (len(same_name) > 1)
    assert found is None or found.power_w == row.power_w


@pytest.mark.parametrize(
    ("name", "watts"),
    [
        ("NVIDIA A100-SXM4-40GB", 400),
        ("NVIDIA A100 80GB PCIe", 300),
        ("NVIDIA A100-PCIE-40GB", 250),
        ("NVIDIA H100 PCIe", 350),
        ("Tesla V100-SXM2-16GB", 300),
        ("Tesla T4", 70),
        ("NVIDIA L4", 72),
        ("NVIDIA GeForce RTX 3090", 350),
        ("NVIDIA GeForce RTX 3090 Ti", 450),
        ("NVIDIA RTX 6000 Ada Generation", 300),
        ("Quadro RTX 6000", 295),
        # Nothing else than the name, or rows of different watts: no guess.
        ("NVIDIA H100 80GB HBM3", None),
        ("NVIDIA H200", None),
        ("NVIDIA GeForce GTX 1660", None),
        ("NVIDIA GeForce RTX 3070 Laptop GPU", None),
        ("NVIDIA GeForce GTX 1060 3GB", None),
        ("NVIDIA GH200 480GB", None),
        ("GRID A100-10C", None),
        ("", None),
    ],
)
def test_a_gpu_is_matched_by_all_of_its_name(name: str, watts: float | None) -> None:
    found = model.find_gpu(name)
    assert (found.power_w if found else None) == watts


def _cpuinfo(name: str, threads: int, *, sockets: int = 1, smt: int = 2, flags: str = "fpu") -> str:
    per_socket = threads // sockets
    cores = per_socket // smt
    return "\n".join(
        f"processor\t: {number}\nmodel name\t: {name}\nphysical id\t: {number // per_socket}\n"
        f"core id\t\t: {number % per_socket % cores}\nflags\t\t: {flags}\n"
        for number in range(threads)
    )


def _machine(folder: Path, cpuinfo: str) -> model.Cpus:
    (folder / "cpuinfo").write_text(cpuinfo)
    cpus = model.read_cpus(str(folder), str(folder / "sys"))
    assert cpus is not None
    return cpus


def test_two_sockets_of_a_known_model_have_its_design_power_each(tmp_path: Path) -> None:
    cpus = _machine(tmp_path, _cpuinfo("AMD EPYC 7543 32-Core Processor", 128, sockets=2))
    first, second = model.estimate_cpus(cpus)
    assert [first.id, second.id] == ["package-0", "package-1"]
    assert first.design_w == second.design_w == 225
    assert first.idle_w == pytest.approx(0.15 * 225)
    assert (first.range.low, first.range.high) == pytest.approx((0.25, 1.10))
    assert "'EPYC 7543' 225 W (AMD product specifications" in first.reason


def test_a_virtual_machine_has_the_share_of_the_threads_it_sees(tmp_path: Path) -> None:
    text = _cpuinfo("AMD EPYC 7543 32-Core Processor", 4, sockets=4, smt=1, flags="hypervisor")
    (estimate,) = model.estimate_cpus(_machine(tmp_path, text))
    assert estimate.design_w == pytest.approx(225 * 4 / 64)
    assert "4 of 64 threads seen" in estimate.reason


def test_an_unknown_cpu_is_estimated_per_core_with_a_wider_range(tmp_path: Path) -> None:
    text = _cpuinfo("AMD EPYC 7R13 Processor", 96, smt=2)
    (estimate,) = model.estimate_cpus(_machine(tmp_path, text))
    assert estimate.design_w == pytest.approx(48 * 7.8)
    assert "server CPU, unrecognised" in estimate.reason
    assert estimate.range.low < 0.25
    assert estimate.range.high > 20.6 / 7.8


@pytest.mark.parametrize(
    ("name", "chassis", "virtual", "server"),
    [
        ("AMD EPYC 7R13 Processor", 3, False, True),
        ("Intel(R) Xeon(R) CPU E5-2666 v3 @ 2.90GHz", None, True, True),
        ("Intel(R) Xeon(R) E-2288G CPU @ 3.70GHz", None, False, False),
        ("Intel(R) Core(TM) Ultra 7 155H", None, False, False),
        ("AMD Ryzen 7 PRO 5750G with Radeon Graphics", 23, False, False),
        ("Intel Core Processor (Haswell, no TSX)", None, True, True),
        ("", 10, False, False),
        ("", 10, True, True),
        ("", 23, False, True),
        ("", None, False, True),
    ],
)
def test_class_is_told_by_name_then_by_case(
    name: str, chassis: int | None, virtual: bool, server: bool
) -> None:
    assert model.looks_like_server(name, chassis, virtual) is server


def test_arm_cpus_take_their_sockets_from_the_tree(tmp_path: Path) -> None:
    blocks = [f"processor\t: {n}\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n" for n in range(4)]
    for number in range(4):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{number // 2}\n")
        (topology / "core_id").write_text(f"{number % 2}\n")
    cpus = _machine(tmp_path, "\n".join(blocks))
    assert [(package.id, package.cores) for package in cpus.packages] == [(0, 2), (1, 2)]
    assert not cpus.virtual
    assert all("not told" in estimate.reason for estimate in model.estimate_cpus(cpus))


@pytest.mark.parametrize(
    ("maker", "product", "virtual"),
    [
        ("QEMU", "KVM Virtual Machine", True),
        ("Amazon EC2", "m7g.large", True),
        ("Amazon EC2", "m7g.metal", False),
        ("GIGABYTE", "R272-P30-JG", False),
    ],
)
def test_firmware_tells_a_virtual_machine(
    tmp_path: Path, maker: str, product: str, virtual: bool
) -> None:
    firmware = tmp_path / "sys/class/dmi/id"
    firmware.mkdir(parents=True)
    (firmware / "sys_vendor").write_text(maker + "\n")
    (firmware / "product_name").write_text(product + "\n")
    assert _machine(tmp_path, "processor\t: 0\nCPU implementer\t: 0x41\n").virtual is virtual


def test_memory_by_gigabyte_between_the_rules_for_modules(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal:       {64 * 1024 * 1024} kB\nMemFree: 1 kB\n")
    memory_gib = model.read_memory_gib(str(tmp_path))
    assert memory_gib == 64
    estimate = model.estimate_memory(memory_gib)
    assert estimate.design_w == estimate.idle_w == pytest.approx(24)
    # One module of 64 GB draws 5 W by the rule per module, eight of 8 GB draw 40 W.
    assert estimate.design_w * estimate.range.low == pytest.approx(5)
    assert estimate.design_w * estimate.range.high == pytest.approx(40)


def test_nothing_told_is_nothing_estimated(tmp_path: Path) -> None:
    assert model.read_cpus(str(tmp_path), str(tmp_path)) is None
    assert model.read_memory_gib(str(tmp_path)) is None


def test_a_gpu_in_no_table_is_estimated_by_the_limit_that_the_driver_tells() -> None:
    estimate = model.estimate_gpu("gpu0", "NVIDIA H100 80GB HBM3", 700.0)
    assert estimate is not None
    assert (estimate.design_w, estimate.idle_w) == pytest.approx((700, 105))
    assert model.estimate_gpu("gpu0", "NVIDIA H100 80GB HBM3", None) is None


@given(
    a=st.tuples(st.floats(0.01, 1), st.floats(1, 100)),
    b=st.tuples(st.floats(0.01, 1), st.floats(1, 100)),
)
def test_two_causes_are_never_surer_than_one_nor_worse_than_both(
    a: tuple[float, float], b: tuple[float, float]
) -> None:
    one, other = model.Range(*a), model.Range(*b)
    both = one.combined(other)
    assert one.low * other.low * 0.999 <= both.low <= min(one.low, other.low) * 1.001
    assert max(one.high, other.high) * 0.999 <= both.high <= one.high * other.high * 1.001
