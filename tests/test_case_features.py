"""What is counted of the cases of each law: listed, and reached."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module

import pytest
from hypothesis.strategies import SearchStrategy

from properties import planning
from properties.judged import PLANNING_LAWS
from strategies import killed_scenarios, quantized_tensors, routes, save_sequences, saves_side_by_side, windows
from strategies.case_features import CASE_FEATURES, case_features
from tests.test_strategies import count, sample


def check_features(group: str, drawn: Iterable[object], *, but: Iterable[str] = ()) -> None:
    """Those of the group are all among the features of what was drawn, and no others; ``but`` are another law's."""
    assert set(count(drawn, case_features)) == {(group, name) for name in CASE_FEATURES[group]} - {
        (group, name) for name in but
    }


# Of histories and of what is loaded without a template, tests/test_corners.py tells it of what it draws anyway.
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("group", "strategies"),
    [
        ("another way", [routes(), windows()]),
        ("quantized", [quantized_tensors()]),
        ("side by side", [saves_side_by_side()]),
        ("one after the other", [save_sequences()]),
        ("ranks that die", [killed_scenarios()]),
    ],
)
def test_every_feature_is_listed_and_drawn(group: str, strategies: list[SearchStrategy[object]]) -> None:
    check_features(group, (case for strategy in strategies for case in sample(strategy)))


def test_every_law_of_planning_is_listed() -> None:
    modules = (
        import_module(f"properties.planning.{module.name}") for module in pkgutil.iter_modules(planning.__path__)
    )
    laws = (module for module in modules if module.__name__.rpartition(".")[2].startswith("test_"))
    judges = {name.removeprefix("judge_") for law in laws for name in vars(law) if name.startswith("judge_")}
    assert {name.replace("_", " ") for name in judges} == set(PLANNING_LAWS)
