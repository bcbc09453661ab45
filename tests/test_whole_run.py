"""A whole run of the profile ``ci`` judges each feature that is listed, and none that is not; else it fails."""

from __future__ import annotations

import pkgutil
from collections import Counter
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

import conftest
from properties import planning
from properties.judged import JUDGED, PLANNING_LAWS
from properties.whole_run import is_whole, lines_of_what_is_amiss

ALL = {(group, name): 1 for group, names in JUDGED.items() for name in names}


def config(pytestconfig: pytest.Config, *arguments: str, **options: object) -> Any:
    """What a run with those arguments has, but for the options of this one."""
    usual = {"markexpr": "not slow and not commands", "--world": "simulated"} | options
    return SimpleNamespace(
        args=list(arguments) or ["properties", "tests"],
        rootpath=pytestconfig.rootpath,
        invocation_params=SimpleNamespace(dir=pytestconfig.rootpath),
        getoption=lambda name, default=None: usual.get(name, default),
    )


def test_run_of_all_laws_is_whole(pytestconfig: pytest.Config) -> None:
    for arguments in ([], ["properties"], ["."], [str(pytestconfig.rootpath / "properties")]):
        assert is_whole(config(pytestconfig, *arguments), "ci"), arguments


def test_any_other_run_is_not(pytestconfig: pytest.Config) -> None:
    assert not is_whole(config(pytestconfig), "quick")
    for arguments in (["tests"], ["properties/test_blame.py"], ["properties/test_blame.py::test_blame_at_load"]):
        assert not is_whole(config(pytestconfig, *arguments), "ci"), arguments
    for option, value in (
        ("keyword", "blame"),
        ("markexpr", "commands"),
        ("--world", "processes"),
        ("--storage", "memory"),
        ("maxfail", 1),
        ("deselect", ["properties/test_blame.py"]),
    ):
        assert not is_whole(config(pytestconfig, **{option: value}), "ci"), option


def test_what_is_never_judged_and_what_is_not_listed_is_amiss() -> None:
    assert list(lines_of_what_is_amiss(ALL)) == []
    assert list(lines_of_what_is_amiss({**ALL, ("storage", "mine:Storage"): 1})) == []
    some = {**ALL, ("entry", "spoon"): 1, ("cutlery", "fork"): 1}
    del some["entry", "list"], some["entry", "tuple"], some["planning", "paths"]
    assert list(lines_of_what_is_amiss(some)) == [
        "never judged, of entry: list, tuple",
        "judged, and not listed, of entry: spoon",
        "never judged, of planning: paths",
        "judged, and of no group that is listed: cutlery",
    ]


def test_run_in_which_something_is_amiss_fails(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "is_whole", lambda config, profile: True)
    met = {**conftest._met, "features": Counter(ALL)}
    monkeypatch.setattr(conftest, "_met", met)
    session: Any = SimpleNamespace(config=config(pytestconfig), exitstatus=0)
    conftest.pytest_sessionfinish(session, 0)
    assert session.exitstatus == 0
    del met["features"]["entry", "list"]
    conftest.pytest_sessionfinish(session, 0)
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED
    told: list[str] = []
    reporter: Any = SimpleNamespace(
        config=session.config, stats={}, section=lambda title, **_: told.append(title), write_line=told.append
    )
    conftest.pytest_terminal_summary(reporter)
    assert told[told.index("what is amiss") + 1] == "never judged, of entry: list"


def test_every_law_of_planning_is_listed() -> None:
    modules = (
        import_module(f"properties.planning.{module.name}") for module in pkgutil.iter_modules(planning.__path__)
    )
    laws = (module for module in modules if module.__name__.rpartition(".")[2].startswith("test_"))
    judges = {name.removeprefix("judge_") for law in laws for name in vars(law) if name.startswith("judge_")}
    assert {name.replace("_", " ") for name in judges} == set(PLANNING_LAWS)
