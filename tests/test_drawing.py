"""How Hypothesis draws in this suite, which ``conftest.py`` sets up."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from worlds.hooks import HOOKS

MANY = st.integers(0, 2**60)


def test_examples_are_not_mutations_of_the_one_before() -> None:
    """Of two numbers out of very many, an example that is drawn anew seldom has one in common with the last."""
    drawn: list[tuple[int, int]] = []

    @seed(0)
    @settings(max_examples=500, database=None, phases=[Phase.generate])
    @given(pair=st.tuples(MANY, MANY))
    def draw(pair: tuple[int, int]) -> None:
        drawn.append(pair)

    draw()
    assert sum(bool(set(one) & set(other)) for one, other in pairwise(drawn)) < len(drawn) / 10


def test_constants_of_modules_are_not_drawn() -> None:
    """What is imported beside a law must not change what it draws."""
    texts: set[str] = set()

    @seed(0)
    @settings(max_examples=2000, database=None, phases=[Phase.generate])
    @given(text=st.text())
    def draw(text: str) -> None:
        texts.add(text)

    draw()
    assert not texts & {hook for _, hook in HOOKS}
