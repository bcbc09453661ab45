"""Purely random choices: evenly between bounds, no alternative more often than another, and no corners apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TypeVar

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from campaign.measure.by_chance import choosing_by_chance, is_by_chance, settings_by_chance
from strategies import failing_ranks, scenarios, world_sizes
from strategies._corners import favouring
from strategies._spared import SPARED
from strategies._weighted import weighted

T = TypeVar("T", bound=Hashable)
EXAMPLES = 600


def drawn(strategy: SearchStrategy[T], examples: int = EXAMPLES) -> Counter[T]:
    """How often each came."""
    found: Counter[T] = Counter()

    @seed(0)
    @settings_by_chance(settings(max_examples=examples, database=None, deadline=None))
    @given(value=strategy)
    def draw(value: T) -> None:
        if is_by_chance():
            found[value] += 1

    with choosing_by_chance():
        draw()
    assert sum(found.values()) == examples
    return found


def is_even(found: Counter[T], size: int) -> bool:
    """Whether each of so many came about as often: within five standard deviations."""
    expected = sum(found.values()) / size
    return len(found) == size and all(abs(count - expected) < 5 * expected**0.5 for count in found.values())


@pytest.mark.parametrize(
    ("strategy", "size"),
    [
        (st.integers(-4, 5), 10),
        (st.integers(0, 299).map(lambda number: number // 30), 10),  # for which Hypothesis has weights
        (st.floats(1, 16, exclude_max=True).map(lambda number: len(bin(int(number)))), 4),  # as many in each binade
        (st.text("abcde", min_size=1, max_size=1), 5),
        (st.binary(max_size=4).map(len), 5),
        (st.booleans(), 2),
        (SPARED, 2),
        (st.sampled_from("aaaab"), 2),
        (st.sampled_from("aaaab").map(str.upper), 2),
        (weighted((7, st.just("a")), (1, st.just("b"))), 2),
        (weighted((7, st.just(1)), (1, st.integers(0, 3)), whole=1), 4),
        (st.integers(0, 1) | st.integers(0, 1) | st.integers(0, 7), 8),
        (st.just(3) | st.sampled_from((3, 4)), 2),
        (st.tuples(st.integers(0, 1)) | st.tuples(st.integers(0, 3)), 4),
        (favouring(st.just(1) | st.sampled_from((1, 2, 3, 4)), whole=1), 4),
        (world_sizes(max_size=12), 12),
        (failing_ranks(world_size=3), 7),
    ],
    ids=str,
)
def test_each_is_as_likely(strategy: SearchStrategy[Hashable], size: int) -> None:
    assert is_even(drawn(strategy), size)


def test_what_has_no_bounds_is_neither_near_nor_special() -> None:
    assert not {0, 1, -1}.intersection(drawn(st.integers()))
    assert not {0.0, 1.0}.intersection(drawn(st.floats(allow_nan=False)))
    assert max(map(len, drawn(st.text()))) <= 16


def test_scenarios_are_the_same_with_the_same_seed_and_strategies_as_before_afterwards() -> None:
    some = scenarios(max_world_size=3).map(repr)
    assert drawn(some, 20) == drawn(some, 20)
    counts: Counter[str] = Counter()

    @seed(0)
    @settings(max_examples=EXAMPLES, database=None, phases=[Phase.generate])
    @given(value=st.tuples(st.sampled_from("aaaab"), st.integers()))
    def draw(value: tuple[str, int]) -> None:
        counts[value[0]] += 1

    draw()
    assert counts["a"] > 2 * counts["b"]
