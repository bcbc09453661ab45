"""What the laws reach of DCP's source: places are found by their text, misses told, and reasons held against them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from campaign.coverage.collect import package
from campaign.coverage.holes import judge
from campaign.coverage.measured import Function, Measured, Module
from campaign.coverage.places import Place
from campaign.coverage.reason import Reason
from campaign.coverage.reasons import OUT_OF_SCOPE, REASONS
from campaign.coverage.table import lines

ROOT = Path(__file__).parents[1]

SOURCE = textwrap.dedent(
    """\
    def f(x):
        if x:
            g()
            return 1
        for y in x:
            h(y)
        return 2

    def never():
        g()
        return 3

    def checked(x):
        if x is None:
            raise AssertionError("x is None")
        return x
    """
)
LINES = {text.strip(): number for number, text in enumerate(SOURCE.splitlines(), 1)}
IF, IN_IF, FOR, END, IN_NEVER = 2, 3, 5, 7, 10


def module(
    *,
    missed: set[int] = frozenset({IN_IF, 4}),  # type: ignore[assignment]
    not_taken: frozenset[tuple[int, int]] = frozenset({(IF, IN_IF), (FOR, END)}),
    name: str = "m",
) -> Module:
    """The source, of whose ``f`` some was not reached, and nothing of ``never``."""
    every = frozenset({2, 3, 4, 5, 6, 7})
    jumps = frozenset({(IF, IN_IF), (IF, FOR), (FOR, 6), (FOR, END)})
    f = Function("f", every - missed, frozenset(missed), jumps - not_taken, not_taken)
    return Module(name, SOURCE, (Function("", frozenset({1, 9}), frozenset()), f, _NEVER))


_NEVER = Function("never", frozenset(), frozenset({10, 11}))


def test_what_dcp_asserts_of_itself_is_no_hole() -> None:
    checked = Function("checked", frozenset({14, 16}), frozenset({15}), frozenset({(14, 16)}), frozenset({(14, 15)}))
    judged = judge(Measured((Module("m", SOURCE, (checked,)),)), (), ())
    assert judged.holes == ()
    assert judged.excused_in(judged.modules[0]) == (1, 1)
    never = Function("checked", frozenset(), frozenset({14, 15, 16}), frozenset(), frozenset({(14, 15), (14, 16)}))
    (hole,) = judge(Measured((Module("m", SOURCE, (never,)),)), (), ()).holes
    assert hole.is_whole


def told(
    *reasons: Reason, out_of_scope: tuple[Reason, ...] = (), **options: object
) -> tuple[list[str], tuple[str, ...]]:
    judged = judge(Measured((module(**options),)), reasons, out_of_scope)  # type: ignore[arg-type]
    return [str(hole) for hole in judged.holes], judged.void


def test_what_is_missed_without_a_reason_is_a_hole() -> None:
    assert told() == (["m:f:3-4: g()", "m:f:5: for y in x: never goes to 7", "m:never: never called"], ())


def test_reason_takes_what_it_is_about_and_nothing_else() -> None:
    holes, void = told(Reason("no", (Place("m", "f", "g()"),)))
    assert (holes, void) == (["m:f:5: for y in x: never goes to 7", "m:never: never called"], ())
    holes, void = told(Reason("no", (Place("m", "f", "if x:"), Place("m", "never"))))
    assert (holes, void) == (["m:f:5: for y in x: never goes to 7"], ())
    holes, void = told(Reason("no", (Place("m", "f", "for y in x:"),)))
    assert (holes, void) == (["m:f:3-4: g()", "m:never: never called"], ())


@pytest.mark.parametrize(
    "place", [Place("m", "f", "return 2"), Place("m", "f"), Place("m", "f", "h(y)")], ids=lambda place: str(place)
)
def test_reason_for_what_is_reached_is_void(place: Place) -> None:
    holes, void = told(Reason("no", (place,)))
    assert len(holes) == 3
    assert void == (f"{place}: it was reached (no)",)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place("m", "g"), "m has no function g"),
        (Place("m", "f", "return 7"), "m:f has no line 'return 7'"),
        (Place("m", "f", "return 3"), "m:f has no line 'return 3'"),
        (Place("n", "f"), "the installed torch has no such module"),
    ],
    ids=str,
)
def test_reason_for_what_is_not_there_is_void(place: Place, said: str) -> None:
    assert told(Reason("no", (place,)))[1] == (f"{place}: {said} (no)",)


def test_module_out_of_scope_is_not_counted_and_must_not_be_entered() -> None:
    out = (Reason("no", (Place("m"),)),)
    assert told(out_of_scope=out) == ([], ("m: f was reached (no)",))
    assert told(out_of_scope=(Reason("no", (Place("n"),)),))[1] == ("n: the installed torch has no such module (no)",)


def test_table_sets_the_others_beside() -> None:
    out = Module("out", SOURCE, (Function("", frozenset({1}), frozenset()), _NEVER))
    measured = Measured((module(), out))
    reasons = [Reason("no", (Place("m", "never"),))]
    judged = judge(measured, reasons, [Reason("is elsewhere", (Place("out"),))])
    text = list(lines(judged, reasons, {"theirs": Measured((module(missed=set(), not_taken=frozenset()),))}))
    assert text[0].split("  ")[-1].strip() == "branches, theirs"
    assert text[1].split() == ["m", "6/10", "60.0%", "2/4", "50.0%", "2/0", "8/10", "80.0%", "4/4", "100.0%"]
    assert "  is elsewhere: out" in text
    assert "  no: m:never" in text
    assert text[-2:] == ["  m:f:3-4: g()", "  m:f:5: for y in x: never goes to 7"]


def installed(name: str) -> Module:
    """A module of the installed torch, of which nothing was reached."""
    source = (package() / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
    every = frozenset(range(1, len(source.splitlines()) + 1))
    return Module(name, source, (Function("", frozenset(), every),))


@pytest.mark.parametrize(
    "place", [place for reason in (*REASONS, *OUT_OF_SCOPE) for place in reason.places], ids=lambda place: str(place)
)
def test_place_of_a_reason_is_in_the_installed_torch(place: Place) -> None:
    module = installed(place.module)
    if place.function and place.text:
        assert place.text in map(str.strip, module.source.splitlines())
    elif place.function:
        assert f"def {place.function.rpartition('.')[2]}(" in module.source


needs_coverage = pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="needs coverage.py")


@needs_coverage
@pytest.mark.commands
@pytest.mark.thorough
def test_command_measures_what_laws_reach(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "campaign", "coverage", "read_items", "--max-examples=8", f"--into={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert "read_items: 8 examples" in done.stderr
    said = json.loads((tmp_path / "coverage.json").read_text())
    reached, of = said["modules"]["planner_helpers"]["statements"]
    assert 0 < reached < of
    assert "planner_helpers:create_read_items_for_chunk_list: never called" not in said["holes"]
    assert "utils:_DistWrapper.barrier: never called" in said["holes"]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert "examples" not in again.stderr, "what is there is not done again"
    assert again.stdout == done.stdout
