"""How pytest runs here: Hypothesis's profiles, the world that the laws run in, and what a run says about itself."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import settings

from properties.check import FAULT_HITS, KNOWN_HITS, World
from properties.choices import (
    NOT_OF_PLANNERS,
    NOT_OF_STORAGES,
    WORLDS,
    add_world_option,
    chosen_planners,
    chosen_storage,
    chosen_world,
    largest_world,
    serve_rank_0,
    skip_in_other_world,
    skip_on_storage,
)
from properties.databases import NoRedis, database_of
from properties.drawing import set_up_drawing
from properties.judged import FEATURE_HITS
from properties.profiles import COMMON
from properties.sharding import SHARDS, seed_shard
from properties.summary import fault_table, feature_table, known_issue_lines, left_out_lines
from properties.whole_run import is_whole, lines_of_what_is_amiss
from strategies import limit_planners, limit_storages, limit_world_sizes
from worlds import ProcessWorld, SimulatedWorld, TorchrunWorld

set_up_drawing()

PROFILES = ("quick", "ci", "nightly")


def _register_profiles(examples: Mapping[str, int], database: str = ".hypothesis/examples") -> None:
    # Hypothesis has a profile "ci" of its own, which it loads where it sees a CI: this one takes its place.
    settings.register_profile("quick", COMMON, max_examples=examples["quick"], derandomize=True, database=None)
    settings.register_profile("ci", COMMON, max_examples=examples["ci"], derandomize=True, database=None)
    settings.register_profile(
        "nightly",
        COMMON,
        max_examples=examples["nightly"],
        derandomize=False,
        database=database_of(database),
    )
    settings.load_profile("quick")  # what --hypothesis-profile names is loaded after this


_register_profiles(WORLDS[SimulatedWorld.name].examples)

_HITS: Mapping[str, Counter[Any]] = {"known": KNOWN_HITS, "faults": FAULT_HITS, "features": FEATURE_HITS}
_met: dict[str, Counter[Any]] = {name: Counter() for name in _HITS}
"""The hits of the laws alone, in all workers: tests of the tester run properties, and clear the counters, too."""


@pytest.fixture(scope="session")
def world(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> World:
    """The world that the laws run in."""
    made: World = request.getfixturevalue(chosen_world(pytestconfig))
    return made


@pytest.fixture(scope="session")
def simulated() -> Iterator[World]:
    """The simulated world."""
    with SimulatedWorld() as made:
        yield made


@pytest.fixture(scope="session")
def processes() -> Iterator[World]:
    """The process world; all share it, since to start one takes seconds."""
    with ProcessWorld() as made:
        yield made


@pytest.fixture(scope="session")
def torchrun(pytestconfig: pytest.Config) -> Iterator[World]:
    """The ranks of the job that this process is rank 0 of."""
    directory, timeout = (pytestconfig.getoption(name) for name in ("--checkpoint-dir", "--group-timeout"))
    with TorchrunWorld(directory, timeout=timeout) as made:
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    _steal_work(config)
    return serve_rank_0(config)


def _steal_work(config: pytest.Config) -> None:
    """Let workers take tests from each other: laws take far longer than most, and who has the last ones ends alone."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """With ``-n auto`` two workers more than there are processors, unless the environment says how many.

    Many tests of the tester wait for real ranks, which takes time and no processor: of what two have, a fifth even with
    three workers.
    """
    workers = yield
    return workers if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else workers + 2


def pytest_addoption(parser: pytest.Parser) -> None:
    add_world_option(parser)
    parser.addoption(
        "--database",
        metavar="DIR|redis://…",
        default=".hypothesis/examples",
        help="where the profile nightly keeps what it finds, to try it first in each later run",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    profile = config.getoption("--hypothesis-profile", None)
    if profile is not None and profile not in PROFILES:
        raise pytest.UsageError(f"there is no profile {profile!r}: --hypothesis-profile takes {', '.join(PROFILES)}")
    try:
        _register_profiles(WORLDS[chosen_world(config)].examples, config.getoption("--database"))
    except NoRedis as error:
        raise pytest.UsageError(str(error)) from None
    limit_world_sizes(largest_world(config))
    limit_planners(chosen_planners(config))
    limit_storages(shared=chosen_world(config) != SimulatedWorld.name, only=chosen_storage(config))


def pytest_report_header(config: pytest.Config) -> str:
    profile = settings.get_current_profile_name()
    examples = settings.default.max_examples if settings.default is not None else 0
    storage = chosen_storage(config)
    on = "" if storage is None else f"storage {storage}, "
    if (planners := chosen_planners(config)) is not None:
        on += f"planners {planners}, "
    return (
        f"dcp-stress: torch {torch.__version__}, world {chosen_world(config)}, {on}profile {profile} "
        f"({SHARDS} × {examples} examples for each law), hypothesis {hypothesis.__version__}"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("thorough") and settings.get_current_profile_name() == "quick":
        pytest.skip("runs with --hypothesis-profile=ci")
    skip_in_other_world(item)
    skip_on_storage(item)
    seed_shard(item)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what is there before any test, and go through the rest less often.

    Torch and this project are hundreds of thousands of objects, which it would look through in vain several times in
    each law, and write to in each process that a test forks. It still collects all within 700,000 new objects.
    """
    gc.freeze()
    gc.set_threshold(700, 10, 100)


def _is_law(item: pytest.Item) -> bool:
    return item.nodeid.startswith("properties/")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.failed and _is_law(item):
        options = f"--hypothesis-profile={settings.get_current_profile_name()}"
        if (name := chosen_world(item.config)) != SimulatedWorld.name:
            options = f"--world={name} {options}"
        if (storage := chosen_storage(item.config)) is not None:
            options = f"--storage={storage} {options}"
        if (planners := chosen_planners(item.config)) is not None:
            options = f"--planner={planners} {options}"
        report.sections.append(("Run just this again", f"pytest {options} '{item.nodeid}'"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    before = {name: Counter(hits) for name, hits in _HITS.items()}
    try:
        yield
    finally:
        if _is_law(item):
            for name, hits in _HITS.items():
                _met[name] += hits - before[name]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # of a worker of pytest-xdist, whose counts the controller adds up
        output["met"] = {name: list(hits.items()) for name, hits in _met.items()}
    elif exitstatus == pytest.ExitCode.OK and _what_is_amiss(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _what_is_amiss(config: pytest.Config) -> list[str]:
    whole = is_whole(config, settings.get_current_profile_name())
    return list(lines_of_what_is_amiss(_met["features"])) if whole else []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    met = getattr(node, "workeroutput", {}).get("met", {})  # a worker that crashed has none
    for name, hits in met.items():
        _met[name].update({tuple(what) if isinstance(what, list) else what: count for what, count in hits})


def _skipped(terminalreporter: pytest.TerminalReporter) -> set[str]:
    """The laws that were skipped since they are not of storages, or not of planners."""
    skipped = (
        report
        for report in terminalreporter.stats.get("skipped", ())
        if any(reason in str(report.longrepr) for reason in (NOT_OF_STORAGES, NOT_OF_PLANNERS))
    )
    return {report.nodeid.rpartition("::")[2].partition("[")[0] for report in skipped}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    in_detail = settings.get_current_profile_name() != "quick"
    storage, planners = chosen_storage(terminalreporter.config), chosen_planners(terminalreporter.config)
    if storage is not None or planners is not None:
        chosen = {"the storage": storage, "the planners": planners}
        terminalreporter.section(", ".join(f"{what} {name}" for what, name in chosen.items() if name is not None))
        for line in left_out_lines(storage or "", planners or "", _skipped(terminalreporter)):
            terminalreporter.write_line(line)
    if _met["features"] and in_detail:
        terminalreporter.section("what was judged")
        for line in feature_table(_met["features"]):
            terminalreporter.write_line(line)
    if amiss := _what_is_amiss(terminalreporter.config):
        terminalreporter.section("what is amiss", red=True)
        for line in amiss:
            terminalreporter.write_line(line)
    if _met["faults"] and in_detail:
        terminalreporter.section("faults that were reached")
        for line in fault_table(_met["faults"]):
            terminalreporter.write_line(line)
    if _met["known"]:
        terminalreporter.section("known issues of torch that were met")
        for line in known_issue_lines(_met["known"]):
            terminalreporter.write_line(line)
