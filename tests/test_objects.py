"""The objects of state dicts, by how Python copies and pickles them: drawn, saved in every way, told, and changed."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import pytest
import torch
from hypothesis import given

from campaign.script.imports import import_block
from campaign.script.objects import object_code, sources
from campaign.script.text import render
from campaign.seen import look
from properties.check import check
from properties.staged_objects import wrongly_staged
from strategies import object_entries
from strategies.features import FORMS
from worlds import Nested, ObjectEntry, Operation, Scenario, SimulatedWorld
from worlds.entries import TAKEN, Form, Value
from worlds.objects import FIXED, MAKERS, Instance, change, make_object, shown
from worlds.operations import STAGERS

_VALUES: dict[type, Value] = {bytes: b"ab", float: 1.5, int: 7, type(None): None}
_UPLOADS = tuple(Operation(api="async", stager=stager) for stager in STAGERS)
OBJECTS = tuple(ObjectEntry("a", _VALUES[TAKEN[form]] if form in TAKEN else (1, "x"), form) for form in get_args(Form))
of_each_form = pytest.mark.parametrize("entry", OBJECTS, ids=lambda entry: entry.form)


@of_each_form
def test_object_is_loaded_as_it_was_saved(entry: ObjectEntry, world: SimulatedWorld) -> None:
    """By itself and in a tuple, by every stager, and as it was at the call; but for what is known."""
    for entries in ((entry,), (Nested("t", "tuple", (entry, ObjectEntry("b", 1))),)):
        for save in (Operation(), *_UPLOADS):
            known = set(wrongly_staged(entry, save))
            if entry.form == "sparse" and save.stager != "writer":
                known = {"staging-sparse"}
            scenario = Scenario(entries, save)
            seen = look(partial(check, scenario, world))
            assert seen.violation is None, (save, seen.headline)
            assert seen.known == known, save


@of_each_form
def test_what_python_copies_and_torch_saves_is_told_as_the_object(entry: ObjectEntry) -> None:
    made, file = make_object(entry), io.BytesIO()
    torch.save(made, file)
    file.seek(0)
    assert shown(copy.deepcopy(made)) == shown(torch.load(file, weights_only=False)) == shown(made)


@of_each_form
def test_change_is_told(entry: ObjectEntry) -> None:
    made = make_object(entry)
    change(made)
    assert (shown(made) == shown(make_object(entry))) == (entry.form in FIXED)


@of_each_form
def test_script_makes_the_same_object(entry: ObjectEntry) -> None:
    if entry.form == "value":
        return
    names = ["shown", "change"] if entry.form == "BytesIO" else [MAKERS[entry.form].__name__, "shown", "change"]
    source = "\n\n".join(sources(names, [make_object(entry)]))
    made: dict[str, Any] = {"__name__": "__main__"}
    code = f"{source}\nmade = {render(object_code(entry, head=''))}\ntext = shown(made)\nchange(made)"
    exec(f"{import_block(code)}\n{code}", made)
    assert made["text"] == shown(make_object(entry))


def test_what_is_one_is_told_from_what_is_two() -> None:
    one, other = Instance(1), Instance(1)
    assert shown((one, one)) != shown((one, other))
    assert shown((one, other)) == "(Instance(value=1), Instance(value=1))"


def test_text_of_what_holds_itself_ends() -> None:
    assert shown(make_object(ObjectEntry("a", 1, "cycle"))) == "(1, Instance(value=(1, Instance again)))"


def test_memory_in_common_is_told() -> None:
    made = make_object(ObjectEntry("a", b"x", "views"))
    apart = Instance(tuple(each.clone() for each in made.value))  # type: ignore[attr-defined]
    assert shown(made) == shown(apart).replace("120])))", "120], in the same memory)))")


def test_every_form_is_named_and_made() -> None:
    assert tuple(FORMS) == get_args(Form)
    assert ("value", *MAKERS) == get_args(Form)


@given(entry=object_entries())
def test_drawn_object_is_made_and_told(entry: ObjectEntry) -> None:
    assert shown(make_object(entry)) == shown(make_object(replace(entry, key="b")))
