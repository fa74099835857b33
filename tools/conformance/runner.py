"""Runs in the interpreter of the tool under test: puts its meter around the work.

    python runner.py ADAPTER.py PLAN.json

An adapter has a class ``Meter(device, channels, windows)``, the last being their number, with
``begin(name)``, ``end(name)`` and ``close()``, which gives the joules of each name, all its windows
together: a number, a number with the ends of its interval, or None where the tool says that it does
not know. Nothing else is imported, so that a tool meets the program that its users write.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
import time

NS = 1_000_000_000


def sleep_until(mono_ns: float) -> None:
    """To within some microseconds: what is left of the last two milliseconds is spent awake."""
    while (rest_ns := mono_ns - time.monotonic_ns()) > 0:
        if rest_ns > 2_000_000:
            time.sleep((rest_ns - 2_000_000) / NS)


def next_begin_ns(window: dict, epoch_ns: int, not_before_ns: int) -> float:
    if not window["period_s"]:
        return not_before_ns
    period_ns, phase_ns = window["period_s"] * NS, window["phase_s"] * NS
    passed = -(-(not_before_ns - epoch_ns - phase_ns) // period_ns)
    return epoch_ns + passed * period_ns + phase_ns


def work(activity: str, until_ns: float) -> None:
    if activity == "hold":  # PyDLL keeps the GIL, as a long call of an extension does
        ctypes.PyDLL(None).usleep(int((until_ns - time.monotonic_ns()) / 1000))
    elif activity == "fork":
        child = os.fork()
        if child == 0:
            time.sleep(1.0)
            os._exit(0)
        sleep_until(until_ns)
        os.waitpid(child, 0)
    else:
        sleep_until(until_ns)


def main(adapter_path: str, plan_path: str) -> None:
    with open(plan_path, encoding="utf-8") as file:
        plan = json.load(file)
    spec = importlib.util.spec_from_file_location("adapter", adapter_path)
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    if len(plan["windows"]) > 1 and not getattr(adapter, "TELLS_STAGES", True):
        raise NotImplementedError("reads no stages apart")
    windows = plan["repeat"] * len(plan["windows"])
    meter = adapter.Meter(plan["device"], plan["channels"], windows)
    log = []
    after_ns = time.monotonic_ns()
    for _ in range(plan["repeat"]):
        for window in plan["windows"]:
            begin_ns = next_begin_ns(window, plan["epoch_ns"], after_ns)
            sleep_until(begin_ns)
            asked = time.monotonic_ns()
            meter.begin(window["name"])
            begun = time.monotonic_ns()
            # A window with a place on the signal ends at its place; another lasts as long.
            base = begin_ns if window["period_s"] else begun
            work(window["activity"], base + window["length_s"] * NS)
            ending = time.monotonic_ns()
            meter.end(window["name"])
            ended = time.monotonic_ns()
            log.append([window["name"], asked, begun, ending, ended])
            after_ns = ended - int(0.002 * NS) if window["period_s"] < 0.1 else ended
    result = {"joules": meter.close(), "log": log, "version": adapter.VERSION}
    sys.stdout.flush()
    with open(plan["result"], "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
