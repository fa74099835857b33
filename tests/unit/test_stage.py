"""The stage mark in a `with` block: nesting, phases, threads, and what may go wrong."""

from __future__ import annotations

import contextvars
import copy
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stages_seen import Seen

import pyprof
from pyprof import _native
from pyprof.stages import stage

PHASES = ("development", "training", "deployment")


def test_the_public_name_is_the_native_type() -> None:
    assert pyprof.stage is _native.stage


# -- nesting ---------------------------------------------------------------------------------------


def test_paths_are_names_from_the_outermost_in() -> None:
    with Seen() as seen:
        with stage("train"):
            for _ in range(3):
                with stage("forward"):
                    pass
            with stage("backward"), stage("forward"):
                pass
        with stage("forward"):
            pass
    assert seen.counts == {
        "train": 1,
        "train/forward": 3,
        "train/backward": 1,
        "train/backward/forward": 1,
        "forward": 1,
    }


def test_a_nested_stage_lies_within_its_parent() -> None:
    with Seen() as seen, stage("outer"):
        time.sleep(0.002)
        with stage("inner"):
            time.sleep(0.002)
    assert 0.002 <= seen["outer/inner"].wall_s <= seen["outer"].wall_s - 0.002


def test_time_is_what_the_clock_says() -> None:
    with Seen() as seen:
        before = time.monotonic_ns()
        with stage("x"):
            inside = time.monotonic_ns()
            time.sleep(0.005)
            slept = time.monotonic_ns()
        after = time.monotonic_ns()
    assert (slept - inside) * 1e-9 <= seen["x"].duration_s <= (after - before) * 1e-9


def test_a_recursive_stage_nests_in_itself() -> None:
    def down(depth: int) -> None:
        with stage("r"):
            if depth:
                down(depth - 1)

    with Seen() as seen:
        down(3)
    assert seen.counts == {"r": 1, "r/r": 1, "r/r/r": 1, "r/r/r/r": 1}


def test_a_thousand_levels() -> None:
    with Seen() as seen, ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(stage("d"))
    assert len(seen.rows) == 1000
    assert not any(row.cut for row in seen.rows)


def test_a_very_deep_line_of_stages_is_released_without_recursion() -> None:
    def dive() -> None:
        with ExitStack() as stack:
            for _ in range(200_000):
                stack.enter_context(stage("d"))
            _native.stop_marks()

    _native.start_marks("training")
    contextvars.Context().run(dive)
    _native.drain_marks()


def test_ends_in_another_order_than_beginnings() -> None:
    with Seen() as seen:
        outer, inner = stage("outer"), stage("inner")
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        with stage("late"):  # hangs under what is still open
            pass
        inner.__exit__(None, None, None)
        with stage("after"):
            pass
    assert seen.paths == {"outer", "outer/inner", "outer/inner/late", "after"}


Tree = list[Any]
trees = st.recursive(
    st.just([]),
    lambda inner: st.lists(st.tuples(st.sampled_from("abc"), inner), max_size=4),
    max_leaves=25,
)


def walk(tree: Tree) -> None:
    for name, inner in tree:
        with stage(name):
            walk(inner)


def expected(tree: Tree, prefix: str = "") -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, inner in tree:
        counts[prefix + name] += 1
        counts += expected(inner, prefix + name + "/")
    return counts


@given(trees)
def test_any_tree_is_counted_as_it_was_walked(tree: Tree) -> None:
    with Seen() as seen:
        walk(tree)
    assert seen.counts == expected(tree)


@given(st.lists(trees, min_size=2, max_size=4))
def test_any_trees_in_threads_are_counted_together(forest: list[Tree]) -> None:
    with Seen() as seen, stage("main"):
        threads = [threading.Thread(target=walk, args=(tree,)) for tree in forest]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen.counts == {"main": 1} | sum((expected(tree) for tree in forest), Counter())


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("", "(unnamed)"),
        ("a b", "a b"),
        ("Übung ✓ 電力 😀", "Übung ✓ 電力 😀"),
        ("a/b", "a\\/b"),
        ("a\\b", "a\\\\b"),
        ("nul\0nul", "nul\0nul"),
        ("lone\ud800surrogate", "lone\ufffdsurrogate"),
        ("x" * 600, "x" * 512),
        ("\udfff" * 600, "\ufffd" * 512),
    ],
)
def test_any_characters(name: str, path: str) -> None:
    with Seen() as seen, stage("top"), stage(name):
        pass
    assert seen.paths == {"top", "top/" + path}


def test_the_name_of_a_stage_is_what_is_recorded() -> None:
    assert stage("lone\ud800").name == "lone\ufffd"
    assert len(stage("y" * 9999).name) == 512


@pytest.mark.parametrize("name", [None, 3, b"bytes", ["list"]])
def test_a_name_is_a_str(name: Any) -> None:
    with pytest.raises(TypeError, match="name of a stage must be a str"):
        stage(name)


def test_a_subclass_of_str_is_recorded_as_what_it_holds() -> None:
    class Name(str):
        __slots__ = ()

        def __hash__(self) -> int:
            raise AssertionError("the program's own code is not run by a mark")

    with Seen() as seen, stage(Name("n")):
        pass
    assert seen.paths == {"n"}


def test_ten_thousand_names_and_the_rest() -> None:
    with Seen() as seen:
        for i in range(10_050):
            with stage(f"s{i}"):
                pass
    assert len(seen.rows) == 10_001
    assert seen["(other)"].count == 50


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), (("a", None, None), {}), (("a",), {"name": "a"}), (("a",), {"color": "red"})],
)
def test_wrong_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        stage(*args, **kwargs)


def test_arguments_by_keyword() -> None:
    mark = stage(phase="deployment", name="serve")
    assert (mark.name, mark.phase) == ("serve", "deployment")
    assert repr(mark) == "stage('serve', phase='deployment')"
    assert repr(stage("a")) == "stage('a')"


def test_a_stage_can_be_sent_to_another_process() -> None:
    for mark in (stage("a"), stage("b", "training")):
        for twin in (copy.copy(mark), pickle.loads(pickle.dumps(mark))):
            assert (twin.name, twin.phase) == (mark.name, mark.phase)


def test_a_stage_has_no_subclasses() -> None:
    with pytest.raises(TypeError):
        type("Mine", (stage,), {})


# -- phases ----------------------------------------------------------------------------------------


def test_a_phase_is_the_own_or_the_parents_or_the_profilers() -> None:
    with Seen("development") as seen:
        with stage("a"):
            pass
        with stage("b", "deployment"):
            with stage("c"):
                pass
            with stage("d", phase="training"), stage("e"):
                pass
    assert seen.phases == {
        ("a", "development"),
        ("b", "deployment"),
        ("b/c", "deployment"),
        ("b/d", "training"),
        ("b/d/e", "training"),
    }


def test_a_default_of_its_own_counts_at_the_outermost_only() -> None:
    with Seen("training") as seen:
        with _native.stage_with_default("a", None, "deployment"):
            pass
        with stage("b"), _native.stage_with_default("c", None, "deployment"):
            pass
        with _native.stage_with_default("d", "development", "deployment"):
            pass
    assert seen.phases == {
        ("a", "deployment"),
        ("b", "training"),
        ("b/c", "training"),
        ("d", "development"),
    }


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("phase", ["Training", "embodied", "", "train\udc80", 1, b"training"])
def test_other_phases_are_refused_with_the_three(active: bool, phase: Any) -> None:
    if active:
        _native.start_marks("training")
    try:
        with pytest.raises(ValueError, match="development, training or deployment"):
            stage("x", phase)
        with pytest.raises(ValueError, match="development, training or deployment"):
            stage("x", phase=phase)
    finally:
        _native.stop_marks()


@pytest.mark.parametrize("phase", PHASES)
def test_the_three_phases(phase: str) -> None:
    assert stage("x", phase).phase == phase
    assert stage("x").phase is None


# -- use of one object -----------------------------------------------------------------------------


@pytest.mark.parametrize("active", [False, True])
def test_an_open_stage_can_not_be_entered(active: bool) -> None:
    seen = Seen()
    with seen if active else ExitStack():
        mark = stage("x")
        with mark:
            with pytest.raises(RuntimeError, match="open already"):
                mark.__enter__()
            with stage("y"):
                pass
    assert seen.counts == ({"x": 1, "x/y": 1} if active else {})


def test_a_closed_stage_can_be_entered_afresh() -> None:
    mark = stage("x")
    with Seen() as seen:
        for _ in range(2):
            with mark:
                pass
        with stage("y"), mark:
            pass
    assert seen.counts == {"x": 2, "y": 1, "y/x": 1}


def test_enter_gives_the_stage() -> None:
    mark = stage("x")
    with mark as entered:
        assert entered is mark


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_exceptions_pass_unchanged(active: bool, kind: type[BaseException]) -> None:
    error = kind("mine")
    seen = Seen()
    with seen if active else ExitStack():
        with pytest.raises(kind) as caught, stage("x"):
            raise error
        with stage("after"):
            pass
    assert caught.value is error
    assert error.__context__ is None
    assert seen.counts == ({"x": 1, "after": 1} if active else {})


# -- on and off ------------------------------------------------------------------------------------


def test_nothing_is_logged_while_inactive() -> None:
    _native.drain_marks()
    with stage("x"):
        pass
    assert _native.drain_marks() == b""


def test_a_stage_entered_before_the_start_is_not_logged() -> None:
    early = stage("early")
    early.__enter__()
    with Seen() as seen:
        with stage("x"):
            pass
        early.__exit__(None, None, None)
        with stage("y"):
            pass
    assert seen.counts == {"x": 1, "y": 1}


def test_a_stage_open_at_the_stop_is_cut_there() -> None:
    with Seen() as seen:
        late = stage("late")
        late.__enter__()
    late.__exit__(None, None, None)
    assert _native.drain_marks() == b""
    assert seen["late"].cut


def test_a_stage_open_over_a_stop_and_a_start_is_closed() -> None:
    with Seen() as first:
        old = stage("old")
        old.__enter__()
        with stage("x"):
            pass
    with Seen() as second:
        with stage("x"):
            pass
        old.__exit__(None, None, None)
    assert first.paths == {"old", "old/x"}
    assert second.paths == {"x"}  # its name is known again, though it is not new to the process


def test_drains_join_to_one_log() -> None:
    with Seen() as seen, stage("outer"):
        for i in range(50):
            with stage(f"s{i % 7}"):
                seen.drain()
    assert sum(seen.counts.values()) == 51
    assert len(seen.paths) == 8


def test_starting_twice_goes_on_in_the_same_log() -> None:
    with Seen("training") as seen, stage("a"):
        _native.start_marks("development")
        with stage("b"):
            pass
        contextvars.Context().run(walk, [("c", [])])
    assert seen.phases == {("a", "training"), ("a/b", "training"), ("c", "development")}


@pytest.mark.parametrize("phase", ["other", 3])
def test_a_start_with_another_phase_is_refused(phase: Any) -> None:
    with pytest.raises(ValueError, match="phase must be"):
        _native.start_marks(phase)


# -- threads and contexts --------------------------------------------------------------------------


def test_the_outermost_stage_of_a_new_thread_hangs_under_the_root() -> None:
    with Seen() as seen, stage("main"):
        thread = threading.Thread(target=walk, args=([("t", [("u", [])])],))
        thread.start()
        thread.join()
    assert seen.paths == {"main", "t", "t/u"}


def test_entries_of_threads_add_up_and_their_union_is_the_wall() -> None:
    together = threading.Barrier(4)

    def work() -> None:
        together.wait()
        with stage("t"):
            together.wait()
            time.sleep(0.01)
            together.wait()

    with Seen() as seen:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    row = seen["t"]
    assert row.count == 4
    # All four were open together for 10 ms at least.
    assert row.duration_s >= row.wall_s + 3 * 0.01


def test_many_threads_lose_nothing() -> None:
    def work(name: str) -> None:
        for _ in range(2000):
            with stage(name), stage("inner"):
                pass

    with Seen() as seen:
        threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            seen.drain()
        for thread in threads:
            thread.join()
    assert seen.counts == {f"t{i}{end}": 2000 for i in range(8) for end in ("", "/inner")}


def test_a_copied_context_nests_under_what_was_open() -> None:
    with Seen() as seen, stage("a"):
        context = contextvars.copy_context()
        context.run(walk, [("b", [])])
    assert seen.paths == {"a", "a/b"}


def test_a_copied_context_walks_past_what_has_closed() -> None:
    with Seen() as seen, stage("a"):
        with stage("b"):
            context = contextvars.copy_context()
        context.run(walk, [("c", [])])
    with Seen() as later:
        context.run(walk, [("c", [])])
    assert seen.paths == {"a", "a/b", "a/c"}
    assert later.paths == {"c"}


def test_a_stage_entered_in_one_thread_may_end_in_another() -> None:
    with Seen() as seen:
        mark = stage("x")
        mark.__enter__()
        thread = threading.Thread(target=mark.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
        with stage("y"):
            pass
    assert seen.paths == {"x", "y"}
    assert not seen["x"].cut


# -- memory ----------------------------------------------------------------------------------------


def blocks_kept_by(work: Any) -> int:
    work()
    before = sys.getallocatedblocks()
    work()
    return sys.getallocatedblocks() - before


def test_many_stages_keep_no_memory() -> None:
    def work() -> None:
        for i in range(200_000):
            with stage("x"), stage("y"):
                pass
            if i % 10_000 == 0:
                _native.drain_marks()

    _native.start_marks("training")
    try:
        assert blocks_kept_by(work) < 1000
    finally:
        _native.stop_marks()
        _native.drain_marks()


def test_a_chain_of_contexts_keeps_no_memory() -> None:
    # As in a server whose every task begins the next one: each stage begins inside the one before.
    def work() -> None:
        context = contextvars.Context()
        before: Any = None
        for _ in range(20_000):
            mark = stage("x")
            context.run(mark.__enter__)
            context = context.run(contextvars.copy_context)
            if before is not None:
                before.__exit__(None, None, None)
            before = mark
        before.__exit__(None, None, None)
        _native.drain_marks()
        counts.append(sys.getallocatedblocks())

    counts: list[int] = []
    _native.start_marks("training")
    try:
        start = sys.getallocatedblocks()
        work()
    finally:
        _native.stop_marks()
    assert counts[0] - start < 5000


def test_inactive_stages_keep_no_memory() -> None:
    def work() -> None:
        for _ in range(100_000):
            with stage("x", "training"):
                pass

    assert blocks_kept_by(work) < 1000


def test_generators_keep_no_memory() -> None:
    @stage("g")
    def numbers() -> Iterator[int]:
        with stage("held"):
            yield from range(20_000)

    def work() -> None:
        for _ in numbers():
            with stage("use"):
                pass
        _native.drain_marks()

    _native.start_marks("training")
    try:
        assert blocks_kept_by(work) < 1000
    finally:
        _native.stop_marks()
