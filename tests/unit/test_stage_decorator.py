"""A stage as a decorator: what it decorates stays what it is, and its time is its own."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import subprocess
import sys
import threading
import time
import types
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stages_seen import Seen

from pyprof.stages import stage

# -- functions -------------------------------------------------------------------------------------


def test_each_call_is_an_entry_of_its_own() -> None:
    @stage("f")
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    with Seen() as seen:
        assert fib(4) == 3
    assert sum(seen.counts.values()) == 9
    assert seen.counts["f"] == 1
    assert seen.counts["f/f/f/f"] == 2


def test_a_decorator_made_while_inactive_records_later() -> None:
    @stage("f", phase="deployment")
    def f() -> None:
        pass

    f()
    for _ in range(2):
        with Seen() as seen:
            f()
        assert seen.phases == {("f", "deployment")}
        assert seen.counts == {"f": 1}
    f()


def test_one_stage_may_decorate_several_functions() -> None:
    shared = stage("shared")

    @shared
    def inner() -> None:
        pass

    @shared
    def outer() -> None:
        inner()

    with Seen() as seen, shared:
        outer()
    assert seen.counts == {"shared": 1, "shared/shared": 1, "shared/shared/shared": 1}


def test_a_function_keeps_its_face() -> None:
    def f(a: int, /, b: str = "b", *, c: float) -> tuple[int, str, float]:
        """Words."""
        return a, b, c

    f.mark = 1  # type: ignore[attr-defined]
    wrapped = stage("f")(f)
    assert wrapped(1, c=2.0) == (1, "b", 2.0)
    assert (wrapped.__name__, wrapped.__doc__, wrapped.__module__) == ("f", "Words.", __name__)
    assert inspect.signature(wrapped) == inspect.signature(f)
    assert wrapped.__wrapped__ is f  # type: ignore[attr-defined]
    assert wrapped.mark == 1  # type: ignore[attr-defined]


def test_an_error_of_a_function_passes() -> None:
    error = ValueError("mine")

    @stage("f")
    def f() -> None:
        raise error

    with Seen() as seen:
        with pytest.raises(ValueError, match="mine") as caught:
            f()
        with stage("after"):
            pass
    assert caught.value is error
    assert seen.counts == {"f": 1, "after": 1}


class Model:
    @stage("method")
    def method(self) -> str:
        return type(self).__name__

    @stage("static over")
    @staticmethod
    def static_over(x: int) -> int:
        return x

    @staticmethod
    @stage("static under")
    def static_under(x: int) -> int:
        return x

    @stage("class over")
    @classmethod
    def class_over(cls) -> str:
        return cls.__name__

    @property
    @stage("property")
    def size(self) -> int:
        return 3

    def __call__(self) -> str:
        return "called"


def test_methods() -> None:
    with Seen() as seen:
        model = Model()
        assert model.method() == "Model"
        assert (model.static_over(1), Model.static_over(2), model.static_under(3)) == (1, 2, 3)
        assert (model.class_over(), Model.class_over()) == ("Model", "Model")
        assert model.size == 3
        assert stage("bound")(model.method)() == "Model"
        assert stage("object")(model)() == "called"
        assert stage("builtin")(len)([1]) == 1
        assert stage("partial")(functools.partial(max, 3))(4) == 4
    assert seen.counts == {
        "method": 1,
        "static over": 2,
        "static under": 1,
        "class over": 2,
        "property": 1,
        "bound": 1,
        "bound/method": 1,
        "object": 1,
        "builtin": 1,
        "partial": 1,
    }


def test_a_class_is_refused() -> None:
    with pytest.raises(TypeError, match="can't decorate the class Model: decorate its methods"):
        stage("x")(Model)


@pytest.mark.parametrize("thing", [None, 3, "f", property(lambda self: 1)])
def test_what_can_not_be_called_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="decorates functions"):
        stage("x")(thing)


# -- generators ------------------------------------------------------------------------------------


def test_kinds_are_kept() -> None:
    def plain() -> None: ...
    def generator() -> Iterator[int]:
        yield 1

    async def coroutine() -> None: ...
    async def async_generator() -> AsyncIterator[int]:
        yield 1

    mark = stage("x")
    for function in (plain, generator, coroutine, async_generator):
        for made in (function, functools.partial(function)):
            wrapped = mark(made)
            for ask in (
                inspect.isgeneratorfunction,
                inspect.iscoroutinefunction,
                inspect.isasyncgenfunction,
            ):
                assert ask(wrapped) == ask(function), (function, ask)
    old = mark(types.coroutine(generator))
    assert inspect.isawaitable(old())


def test_a_suspended_generator_is_not_open() -> None:
    @stage("g")
    def numbers() -> Iterator[int]:
        for i in range(3):
            with stage("make"):
                time.sleep(0.001)
            yield i

    with Seen() as seen:
        before = time.monotonic()
        slept = 0.0
        for _ in numbers():
            with stage("use"):
                at = time.monotonic()
                time.sleep(0.02)
                slept += time.monotonic() - at
        spent = time.monotonic() - before
    assert seen.counts == {"g": 1, "g/make": 3, "use": 3}
    assert 0.003 <= seen["g"].wall_s <= spent - slept


def test_what_a_generator_has_open_is_suspended_with_it() -> None:
    @stage("g")
    def holding() -> Iterator[int]:
        with stage("held"), stage("deep"):
            yield 1
            with stage("late"):
                yield 2
        with stage("out"):
            pass

    with Seen() as seen:
        before = time.monotonic()
        slept = 0.0
        for _ in holding():
            with stage("use"):
                at = time.monotonic()
                time.sleep(0.02)
                slept += time.monotonic() - at
        spent = time.monotonic() - before
    assert seen.counts == {
        "g": 1,
        "g/held": 1,
        "g/held/deep": 1,
        "g/held/deep/late": 1,
        "g/out": 1,
        "use": 2,
    }
    assert not any(row.cut for row in seen.rows)
    assert seen["g/held/deep"].duration_s <= spent - slept


def test_a_generator_hangs_under_whoever_resumes_it() -> None:
    @stage("g")
    def numbers() -> Iterator[int]:
        yield 1
        with stage("x"):
            yield 2

    with Seen() as seen:
        made = numbers()
        with stage("a"):
            next(made)
        with stage("b"):
            next(made)
            with stage("c"):
                pass
    assert seen.counts["a/g"] == 1
    assert seen.counts["b/g"] == 0  # entered again, not anew
    assert seen.counts["b/g/x"] == 1
    assert seen.counts["b/c"] == 1


def test_generators_in_turns_do_not_nest() -> None:
    @stage("g")
    def numbers(name: str) -> Iterator[int]:
        for i in range(4):
            with stage(name):
                yield i

    with Seen() as seen:
        for _ in zip(numbers("left"), numbers("right"), strict=True):
            with stage("use"):
                pass
    assert seen.counts == {"g": 2, "g/left": 4, "g/right": 4, "use": 4}


def test_a_generator_within_a_generator() -> None:
    @stage("in")
    def inner(n: int) -> Iterator[int]:
        yield from range(n)

    @stage("out")
    def outer() -> Iterator[int]:
        for i in range(3):
            yield from inner(i)

    with Seen() as seen:
        assert list(outer()) == [0, 0, 1]
    assert seen.counts == {"out": 1, "out/in": 3}


def test_a_generator_over_a_start_and_a_stop() -> None:
    @stage("g")
    def numbers() -> Iterator[int]:
        for i in range(6):
            with stage("make"):
                pass
            yield i

    made = numbers()
    next(made)
    with Seen() as first:
        next(made)
        next(made)
    next(made)
    with Seen() as second:
        assert list(made) == [4, 5]
    assert first.counts == second.counts == {"g": 1, "g/make": 2}


def test_a_generator_resumed_by_a_thread_that_began_inside_it() -> None:
    import contextvars

    @stage("g")
    def numbers() -> Iterator[contextvars.Context]:
        for _ in range(3):
            yield contextvars.copy_context()

    def carry_on() -> None:
        with stage("t"):
            next(made)
            with stage("u"):
                pass

    with Seen() as seen:
        made = numbers()
        inside = next(made)
        inside.run(carry_on)
        inside.run(carry_on)
        made.close()
    assert sum(count for path, count in seen.counts.items() if path.endswith("u")) == 2
    assert seen.counts["g"] == 1


class ProbeError(Exception):
    pass


Step = tuple[str, Any]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.one_of(st.none(), st.integers(0, 9))),
        st.tuples(st.just("throw"), st.sampled_from([ProbeError, ValueError, StopIteration])),
        st.tuples(st.just("throw"), st.just(GeneratorExit)),
        st.tuples(st.just("close"), st.none()),
    ),
    max_size=8,
)


def talker(log: list[Any], stubborn: bool) -> Generator[Any, Any, str]:
    """Answers, swallows one kind of error, and may not want to go."""
    answer = None
    try:
        for i in range(4):
            try:
                answer = yield i, answer
            except ProbeError as error:
                log.append(repr(error))
                answer = yield "probed"
            except GeneratorExit:
                log.append("exit")
                if stubborn:
                    yield "no"
                else:
                    raise
    finally:
        log.append("finally")
    return f"done {answer}"


def played(generator: Generator[Any, Any, Any], steps: list[Step]) -> list[Any]:
    """What a caller sees of a generator."""
    out: list[Any] = []
    for action, value in steps:
        try:
            if action == "send":
                out.append(generator.send(value))
            elif action == "throw":
                out.append(generator.throw(value("thrown")))
            else:
                out.append(generator.close())  # type: ignore[func-returns-value]
        except BaseException as error:
            out.append((type(error), str(error), type(error.__context__), type(error.__cause__)))
    return out


@given(steps, st.booleans(), st.booleans())
def test_a_generator_behaves_as_without(steps: list[Step], stubborn: bool, active: bool) -> None:
    plain_log: list[Any] = []
    marked_log: list[Any] = []
    plain = played(talker(plain_log, stubborn), [("send", None), *steps, ("close", None)])
    seen = Seen()
    with seen if active else nullcontext():
        marked = stage("g")(talker)(marked_log, stubborn)
        assert played(marked, [("send", None), *steps, ("close", None)]) == plain
        del marked
    assert marked_log == plain_log
    assert seen.counts == ({"g": 1} if active else {})
    assert not any(row.cut for row in seen.rows)


def test_a_generator_left_alone_ends_with_it() -> None:
    log: list[Any] = []
    with Seen() as seen:
        made = stage("g")(talker)(log, False)
        next(made)
        del made
        gc.collect()
        with stage("after"):
            pass
    assert log == ["exit", "finally"]
    assert seen.counts == {"g": 1, "after": 1}


def test_a_generator_closed_in_another_thread() -> None:
    log: list[Any] = []
    with Seen() as seen:
        made = stage("g")(talker)(log, False)
        with stage("a"):
            next(made)
        thread = threading.Thread(target=made.close)
        thread.start()
        thread.join()
    assert log == ["exit", "finally"]
    assert seen.counts == {"a": 1, "a/g": 1, "g": 0}


def test_a_generator_keeps_nothing_that_it_has_given_away() -> None:
    class Batch:
        pass

    @stage("g")
    def batches() -> Generator[Batch, Batch, None]:
        while True:
            yield Batch()

    made = batches()
    given = weakref.ref(next(made))
    assert given() is None
    sent = Batch()
    made.send(sent)
    kept = weakref.ref(sent)
    del sent
    assert kept() is None


# -- coroutines ------------------------------------------------------------------------------------


def test_a_coroutine_stays_open_while_it_awaits() -> None:
    @stage("c")
    async def work() -> int:
        with stage("in"):
            await asyncio.sleep(0.01)
        return 7

    with Seen() as seen:
        assert asyncio.run(work()) == 7
    assert seen.counts == {"c": 1, "c/in": 1}
    assert seen["c"].wall_s >= 0.0099


def test_tasks_inherit_and_keep_apart() -> None:
    @stage("child")
    async def child(i: int) -> None:
        with stage(f"step{i % 5}"):
            await asyncio.sleep(0)
            with stage("deep"):
                await asyncio.sleep(0.001)

    async def main() -> None:
        with stage("root"):
            await asyncio.gather(*(child(i) for i in range(50)))

    with Seen() as seen:
        asyncio.run(main())
    assert seen.counts == {
        "root": 1,
        "root/child": 50,
        **{f"root/child/step{i}": 10 for i in range(5)},
        **{f"root/child/step{i}/deep": 10 for i in range(5)},
    }


def test_a_task_that_outlives_the_stage_it_began_in() -> None:
    async def later(go: asyncio.Event) -> None:
        await go.wait()
        with stage("late"):
            pass

    async def main() -> None:
        go = asyncio.Event()
        with stage("root"):
            with stage("begin"):
                task = asyncio.create_task(later(go))
                await asyncio.sleep(0)
            go.set()
            await task

    with Seen() as seen:
        asyncio.run(main())
    assert seen.counts == {"root": 1, "root/begin": 1, "root/late": 1}


def test_a_cancelled_coroutine() -> None:
    @stage("c")
    async def forever() -> None:
        await asyncio.sleep(1000)

    async def main() -> None:
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with stage("after"):
            pass

    with Seen() as seen:
        asyncio.run(main())
    assert seen.counts == {"c": 1, "after": 1}
    assert not seen["c"].cut


def test_a_coroutine_closed_in_another_thread() -> None:
    @types.coroutine
    def pause() -> Generator[None, None, None]:
        yield

    @stage("c")
    async def work() -> None:
        await pause()

    with Seen() as seen:
        made = work()
        made.send(None)
        thread = threading.Thread(target=made.close)
        thread.start()
        thread.join()
        with stage("after"):
            pass
    assert not seen["c"].cut


def test_an_object_whose_call_is_a_coroutine() -> None:
    class Client:
        async def __call__(self) -> int:
            await asyncio.sleep(0.005)
            return 1

    wrapped = stage("c")(Client())
    assert inspect.iscoroutinefunction(wrapped)
    with Seen() as seen:
        assert asyncio.run(wrapped()) == 1  # type: ignore[arg-type]
    assert seen["c"].wall_s >= 0.0049


def test_a_coroutine_of_the_old_kind() -> None:
    @stage("c")
    @types.coroutine
    def work() -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0.005).__await__()
        return 2

    async def main() -> int:
        return await work()

    with Seen() as seen:
        assert asyncio.run(main()) == 2
    assert seen["c"].wall_s >= 0.0049


# -- async generators ------------------------------------------------------------------------------


def test_a_suspended_async_generator_is_not_open() -> None:
    @stage("g")
    async def numbers() -> AsyncIterator[int]:
        for i in range(3):
            with stage("make"):
                await asyncio.sleep(0.001)
            yield i

    async def main() -> float:
        slept = 0.0
        async for _ in numbers():
            with stage("use"):
                at = time.monotonic()
                await asyncio.sleep(0.02)
                slept += time.monotonic() - at
        return slept

    with Seen() as seen:
        before = time.monotonic()
        slept = asyncio.run(main())
        spent = time.monotonic() - before
    assert seen.counts == {"g": 1, "g/make": 3, "use": 3}
    # Open while it awaits, not open while its caller runs.
    assert 0.0029 <= seen["g"].wall_s <= spent - slept


async def async_talker(log: list[Any]) -> Any:
    answer = None
    try:
        for i in range(4):
            try:
                await asyncio.sleep(0)
                answer = yield i, answer
            except ProbeError as error:
                log.append(repr(error))
                answer = yield "probed"
            except GeneratorExit:
                log.append("exit")
                raise
    finally:
        await asyncio.sleep(0)
        log.append("finally")


async def async_played(generator: Any, steps: list[Step]) -> list[Any]:
    out: list[Any] = []
    for action, value in steps:
        waiting: dict[str, Callable[[], Awaitable[Any]]] = {
            "send": lambda value=value: generator.asend(value),
            "throw": lambda value=value: generator.athrow(value("thrown")),
            "close": lambda: generator.aclose(),
        }
        try:
            out.append(await waiting[action]())
        except BaseException as error:
            out.append((type(error), str(error)))
    return out


@given(steps)
def test_an_async_generator_behaves_as_without(steps: list[Step]) -> None:
    script = [("send", None), *steps, ("close", None)]
    plain_log: list[Any] = []
    marked_log: list[Any] = []
    plain = asyncio.run(async_played(async_talker(plain_log), script))
    with Seen() as seen:
        marked = stage("g")(async_talker)(marked_log)
        assert asyncio.run(async_played(marked, script)) == plain
    assert marked_log == plain_log
    assert seen.counts == {"g": 1}


def test_an_async_generator_closed_from_another_task() -> None:
    log: list[Any] = []

    async def main() -> None:
        made = stage("g")(async_talker)(log)
        with stage("a"):
            await made.__anext__()
        await asyncio.create_task(made.aclose())
        with stage("after"):
            pass

    with Seen() as seen:
        asyncio.run(main())
    assert log == ["exit", "finally"]
    assert seen.counts == {"a": 1, "a/g": 1, "g": 0, "after": 1}


def test_an_async_generator_cancelled_while_it_awaits() -> None:
    @stage("g")
    async def slow() -> AsyncIterator[int]:
        await asyncio.sleep(1000)
        yield 1

    async def main() -> None:
        async def read() -> None:
            async for _ in slow():
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Seen() as seen:
        asyncio.run(main())
    assert seen.counts == {"g": 1}
    assert not seen["g"].cut


def test_an_event_loop_ends_quietly_with_generators_unfinished() -> None:
    code = """
import asyncio, sys
from pyprof.stages import stage

@stage("g")
async def numbers():
    try:
        for i in range(5):
            await asyncio.sleep(0)
            yield i
    finally:
        await asyncio.sleep(0)
        print("closed")

async def main():
    global kept
    kept = [numbers() for _ in range(3)]
    for made in kept:
        await made.__anext__()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, cwd="/"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n" * 3, "")
