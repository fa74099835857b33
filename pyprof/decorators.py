"""What a stage mark makes of functions, generators and coroutines."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial, wraps
from typing import Any

from pyprof._native import stage

_Function = Callable[..., Any]


def decorate(mark: stage, function: _Function) -> _Function:
    """The function with a stage of its own around each call; what it is, is kept.

    A generator's stage is open while its code runs and not while its caller does; a coroutine's
    stays open while it awaits.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorate(mark, function.__func__))
    if isinstance(function, type):
        name = function.__name__
        raise TypeError(f"a stage can't decorate the class {name}: decorate its methods instead")
    if not callable(function):
        raise TypeError(f"a stage decorates functions, and {function!r} can't be called")
    return _wrapper_for(function)(mark, function)


def _wrapper_for(function: _Function) -> Callable[[stage, _Function], _Function]:
    code_of = _unwrapped(function)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(code_of):
        return _around_coroutine
    if inspect.isasyncgenfunction(code_of):
        return _around_async_generator
    if _is_old_coroutine(code_of):
        return _around_old_coroutine
    if inspect.isgeneratorfunction(code_of):
        return _around_generator
    return _around_call


def _unwrapped(function: _Function) -> _Function:
    """What runs when it is called: of an object its ``__call__``."""
    while isinstance(function, partial):
        function = function.func
    if inspect.isroutine(function):
        return function
    call: _Function = type(function).__call__
    return call


def _is_old_coroutine(function: _Function) -> bool:
    """Made by ``types.coroutine``: a generator function whose result is awaited."""
    code = getattr(function, "__code__", None)
    return isinstance(code, types.CodeType) and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _around_call(mark: stage, function: _Function) -> _Function:
    fresh = mark._fresh

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with fresh():
            return function(*args, **kwargs)

    return call


def _around_coroutine(mark: stage, function: _Function) -> _Function:
    fresh = mark._fresh

    @wraps(function)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        with fresh():
            return await function(*args, **kwargs)

    return coroutine


def _around_old_coroutine(mark: stage, function: _Function) -> _Function:
    fresh = mark._fresh

    @wraps(function)
    def coroutine(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with fresh():
            return (yield from function(*args, **kwargs))

    made: _Function = types.coroutine(coroutine)
    return made


def _around_generator(mark: stage, function: _Function) -> _Function:
    fresh = mark._fresh

    @wraps(function)
    def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        source = function(*args, **kwargs)
        step, value = source.send, None
        item: list[Any] = []  # emptied as it is yielded: only the caller keeps what it was given
        with fresh() as own:
            while True:
                try:
                    item.append(step(value))
                except StopIteration as end:
                    return end.value
                finally:
                    value = None
                own._suspend()
                try:
                    step, value = source.send, (yield item.pop())
                except BaseException as error:  # thrown in by the caller: the source's business
                    step, value = source.throw, error
                own._resume()

    return generator


def _around_async_generator(mark: stage, function: _Function) -> _Function:
    fresh = mark._fresh

    @wraps(function)
    async def generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        source = function(*args, **kwargs)
        waiting = _first_step(source)
        item: list[Any] = []
        with fresh() as own:
            while True:
                try:
                    item.append(await waiting)
                except StopAsyncIteration:
                    return
                finally:
                    del waiting
                own._suspend()
                try:
                    waiting = source.asend((yield item.pop()))
                except BaseException as error:
                    waiting = source.athrow(error)
                own._resume()

    return generator


def _first_step(source: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """Not seen by the event loop, which closes at its end all generators that it has met, at once:
    the source is closed by its wrapper.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return source.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
