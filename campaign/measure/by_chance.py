"""The same laws with purely random choices, to show what it is worth that strategies and Hypothesis favour corners.

What is drawn is what whoever writes a test with ``random`` would draw from the same strategies:

- An integer, a float, a text or bytes: evenly between its bounds. Hypothesis would draw bounds, small numbers and what
  else often shows bugs more often, and before all of that the simplest example, which is left out here.
- One of several alternatives: each as often, however large its weight is or how often it is there, so that ``SPARED``
  is true in every other example.
- What is but a part of an alternative beside it: not by itself. Of ``integers(0, 4) | integers(0, 8)`` the second is
  drawn alone. Where that cannot be seen, the strategy says it (:func:`strategies._corners.favouring`).

What cannot be without some distribution keeps Hypothesis's: how long a list is, which has the middle of its bounds for
a mean where these are near each other. What a strategy can draw at all is the same. So is all else in a race: the laws
and the number of their examples, the order of their turns, the seeds, and what is counted as CPU. Nothing that is found
is shrunk, which costs nothing before it is found.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

from hypothesis import HealthCheck, Phase, settings
from hypothesis.control import current_build_context
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, PrimitiveProvider
from hypothesis.internal.intervalsets import IntervalSet
from hypothesis.strategies import SearchStrategy
from hypothesis.strategies._internal.collections import ListStrategy, TupleStrategy
from hypothesis.strategies._internal.lazy import LazyStrategy
from hypothesis.strategies._internal.numbers import IntegersStrategy
from hypothesis.strategies._internal.strategies import OneOfStrategy, SampledFromStrategy

from strategies._corners import WHOLE

__all__ = ["choosing_by_chance", "is_by_chance", "settings_by_chance"]

_BACKEND = "dcp-stress-by-chance"
_FAR = 1 << 63
"""Integers without a bound end here."""
_LONG = 16
"""Texts and bytes without a bound are as much longer than they must be, at most."""


class _Chance(PrimitiveProvider):
    """Draws each choice evenly, whatever Hypothesis says of weights; by the seed of the test."""

    lifetime = "test_case"

    @property
    def _random(self) -> Random:
        assert self._cd is not None
        assert self._cd._random is not None
        return self._cd._random

    def draw_boolean(self, p: float = 0.5) -> bool:
        """``p`` is 0.5 but for whether a list goes on."""
        return self._random.random() < p

    def draw_integer(
        self,
        min_value: int | None = None,
        max_value: int | None = None,
        *,
        weights: dict[int, float] | None = None,
        shrink_towards: int = 0,
    ) -> int:
        """Whatever the weights are."""
        low = (-_FAR if max_value is None else min(-_FAR, max_value - _FAR)) if min_value is None else min_value
        high = max(_FAR - 1, low + _FAR) if max_value is None else max_value
        return self._random.randint(low, high)

    def draw_float(
        self,
        *,
        min_value: float = -math.inf,
        max_value: float = math.inf,
        allow_nan: bool = True,
        smallest_nonzero_magnitude: float,
    ) -> float:
        """Each number that a float can be as likely, so that all magnitudes are; never a NaN."""
        while True:
            drawn = _float_at(self._random.randint(_place_of(min_value), _place_of(max_value)))
            if drawn == 0 or abs(drawn) >= smallest_nonzero_magnitude:
                return drawn

    def draw_string(self, intervals: IntervalSet, *, min_size: int = 0, max_size: int = 10**10) -> str:
        """Each length and each character as likely."""
        size = self._random.randint(min_size, min(max_size, min_size + _LONG)) if len(intervals) else 0
        return "".join(chr(intervals[self._random.randrange(len(intervals))]) for _ in range(size))

    def draw_bytes(self, min_size: int = 0, max_size: int = 10**10) -> bytes:
        """Each length and each byte as likely."""
        return self._random.randbytes(self._random.randint(min_size, min(max_size, min_size + _LONG)))


def _place_of(number: float) -> int:
    """Where the float is in the order of all; -0.0 is just below 0.0."""
    (bits,) = struct.unpack("<q", struct.pack("<d", number))
    return int(bits) if bits >= 0 else -(bits & (_FAR - 1)) - 1


def _float_at(place: int) -> float:
    bits = place if place >= 0 else (-place - 1) | _FAR
    (number,) = struct.unpack("<d", struct.pack("<Q", bits))
    return float(number)


def settings_by_chance(usual: settings) -> settings:
    """The settings of a law, for as many examples that are drawn by chance, and one more: the simplest, which is none.

    What chance draws is large, and often not fit; that is no fault of a law.
    """
    AVAILABLE_PROVIDERS[_BACKEND] = _Chance
    return settings(
        usual,
        backend=_BACKEND,
        max_examples=usual.max_examples + 1,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )


def is_by_chance() -> bool:
    """Whether the example that is under way was drawn so: Hypothesis tries the simplest first, in any case."""
    return isinstance(current_build_context().data.provider, _Chance)


@contextmanager
def choosing_by_chance() -> Iterator[None]:
    """Inside the block, every strategy of this process has alternatives that are as likely as each other."""
    one_of: Any = OneOfStrategy
    sampled: Any = SampledFromStrategy
    usual = one_of.do_draw, sampled.do_draw
    evened: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def draw_one_of(self: Any, data: Any) -> Any:
        if self not in evened:
            evened[self] = SampledFromStrategy(_apart(self))
        return data.draw(data.draw(evened[self]))

    def draw_sampled(self: Any, data: Any) -> Any:
        if type(self) is not SampledFromStrategy or isinstance(self.elements, range):
            return usual[1](self, data)
        if self not in evened:
            evened[self] = SampledFromStrategy(_distinct(self), transformations=self._transformations)
        return usual[1](evened[self], data)

    one_of.do_draw, sampled.do_draw = draw_one_of, draw_sampled
    try:
        yield
    finally:
        one_of.do_draw, sampled.do_draw = usual


def _distinct(sampled: Any) -> Sequence[Any]:
    """What it samples, each once; the whole alone, where the others are corners of that."""
    if sampled in WHOLE:
        return [sampled.elements[WHOLE[sampled]]]
    if any(isinstance(element, SearchStrategy) for element in sampled.elements):
        return list(sampled.elements)
    return list({_known_by(element): element for element in sampled.elements}.values())


def _known_by(element: Any) -> tuple[type, Any]:
    try:
        hash(element)
    except TypeError:
        return type(element), repr(element)
    return type(element), element


def _apart(one_of: Any) -> list[SearchStrategy[Any]]:
    """Its alternatives, but for those that are a part of another."""
    if one_of in WHOLE:
        return [one_of.original_strategies[WHOLE[one_of]]]
    kept: list[SearchStrategy[Any]] = []
    for one in one_of.element_strategies:
        if not any(_is_part(one, other) for other in kept):
            kept = [other for other in kept if not _is_part(other, one)] + [one]
    return kept


def _is_part(one: Any, other: Any) -> bool:
    """Whether the other is seen to be able to be all that the one can be."""
    one, other = (each.wrapped_strategy if isinstance(each, LazyStrategy) else each for each in (one, other))
    if one is other:
        return True
    match one, other:
        case IntegersStrategy(), IntegersStrategy():
            low, high = (other.start, other.end)
            above = low is None or (one.start is not None and low <= one.start)
            return above and (high is None or (one.end is not None and one.end <= high))
        case SampledFromStrategy(), SampledFromStrategy() if not one._transformations + other._transformations:
            return set(map(_known_by, one.elements)) <= set(map(_known_by, other.elements))
        case TupleStrategy(), TupleStrategy() if len(one.element_strategies) == len(other.element_strategies):
            return all(map(_is_part, one.element_strategies, other.element_strategies))
        case ListStrategy(), ListStrategy() if type(one) is type(other) is ListStrategy:
            within = other.min_size <= one.min_size and one.max_size <= other.max_size
            return within and _is_part(one.element_strategy, other.element_strategy)
    return False
