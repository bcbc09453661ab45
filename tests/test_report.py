"""What a report says and draws, and that campaigns are merged without losing or counting anything twice."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from campaign.cli import main
from campaign.finding import Finding, describe
from campaign.folder import Folder, Plan
from campaign.laws import all_laws
from campaign.logs import Log, Record
from campaign.opened import OpenedWorlds
from campaign.report.diagrams import diagrams
from campaign.report.picture import tensor_pictures
from properties import judge
from properties.known_issues import KNOWN_ISSUES
from worlds import ChunkSharding, Fault, MeshSharding, ObjectEntry, Operation, Replicate, Scenario, Shard, TensorEntry
from worlds.histories import History, Load, Save
from worlds.training import Parallelism, Side, Training

PLAN = Plan(("round_trip", "blame_at_save"), "simulated", 60, 2, seed=7, versions=(("torch", "2.13.0"),))

_VOID = {"meta", "br", "link"}


class Page(HTMLParser):
    """Sees to it that a page is well formed, asks nothing of the network, and keeps its text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert name not in ("src", "srcset"), "it stands alone"
            assert tag not in ("link", "script", "iframe")
            assert name != "href" or (value or "").startswith(("https://github.com/", "#"))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @staticmethod
    def read(path: Path) -> str:
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        page.close()
        assert not page.open
        return " ".join(page.text.split())


def finding_of(scenario: Scenario, opened: OpenedWorlds) -> Finding:
    violation = judge(scenario, opened.simulated.run(scenario)).violation()
    assert violation is not None
    return describe(all_laws()["round_trip"], scenario, violation, opened, seed=3, shrunk=True)


def progress(unit: str, examples: int, **counted: Any) -> Record:
    empty: dict[str, Any] = {name: {} for name in ("features", "faults", "known", "violations", "drawn")}
    return {
        "is": "progress",
        "unit": unit,
        "n": 1,
        "examples": examples,
        "seconds": 2.0,
        "behaviours": [],
        **empty,
        **counted,
    }


def campaign_of(path: Path, records: Sequence[Record], plan: Plan = PLAN) -> Folder:
    folder = Folder(path)
    folder.create(plan)
    with Log(path / "log" / "000-000.jsonl") as log:
        for record in records:
            log.append(record)
    return folder


def tick(examples: int) -> Record:
    return {"is": "tick", "seconds": 4.0, "examples": examples, "behaviours": 2, "findings": 0}


def test_report_tells_what_is_new_what_is_known_and_how_to_see_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with OpenedWorlds() as opened:
        hang = finding_of(KNOWN_ISSUES["reset-unprotected"].scenario, opened)
        sharded = finding_of(KNOWN_ISSUES["empty-chunk-in-the-way"].scenario, opened)
    counted = {"features": {"api: save": 30}, "known": {"int-keys": 12}, "violations": {hang.id: 5, sharded.id: 2}}
    faults = {"faults": {"save writer.reset call rank": 5}, "drawn": {"dtype: float32": 40}, "behaviours": [1, 2]}
    records: list[Record] = [
        {"is": "begin", "unit": "round_trip-0", "law": "round_trip"},
        progress("round_trip-0", 40, **counted, **faults),
        {"is": "finding", "unit": "round_trip-0", "finding": hang.to_data()},
        {"is": "finding", "unit": "round_trip-0", "finding": sharded.to_data()},
        {"is": "end", "unit": "round_trip-0", "error": ""},
        {"is": "begin", "unit": "blame_at_save-0", "law": "blame_at_save"},
        {
            "is": "lost",
            "unit": "blame_at_save-0",
            "law": "blame_at_save",
            "how": "killed by signal 9",
            "case": hang.case,
        },
        {"is": "begin", "unit": "blame_at_save-1", "law": "blame_at_save"},
        {"is": "end", "unit": "blame_at_save-1", "error": "Unsatisfiable: <no> example"},
        {"is": "again", "finding": "Deadlock-0", "state": "fixed", "headline": "the laws hold"},
        tick(40),
    ]
    folder = campaign_of(tmp_path / "campaign", records)
    assert main(["report", str(folder.path)]) == 0
    summary = capsys.readouterr().out
    page = Page.read(folder.path / "report.html")
    for text in (summary, page):
        assert "2 new findings, 1 unit lost, 1 error of the tester" in text
        for finding in (hang, sharded):
            assert finding.id in text
            assert f"dcp-stress replay {folder.path}/findings/{finding.id}" in text
            assert " ".join(finding.python.split()) in " ".join(text.split())
        assert "int-keys" in text
        assert "12" in text
        assert "killed by signal 9" in text
        assert "Unsatisfiable: " in text
        assert (
            text.index(hang.id) < text.index("killed by signal 9") < text.index("Deadlock-0") < text.index("int-keys")
        )
    assert summary == (folder.path / "summary.md").read_text(encoding="utf-8")
    assert "would fail" not in page
    assert "fails in writer.reset (OSError)" in page
    assert "waiting for ever in gather_object" in page
    assert "import torch.distributed.checkpoint as dcp" in page, "of the script"
    assert "save_state_dict" in page[page.index("Never drawn") :]
    drawn = (folder.path / "report.html").read_text(encoding="utf-8")
    assert "<svg" in drawn
    assert "Unsatisfiable: &lt;no&gt; example" in drawn, "what is not the page's own is no markup"


def test_report_of_a_campaign_without_findings_says_so_at_a_glance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = campaign_of(tmp_path / "campaign", [tick(0)])
    assert main(["report", str(folder.path)]) == 0
    assert capsys.readouterr().out.startswith("## dcp-stress: Nothing new\n")
    assert Page.read(folder.path / "report.html").startswith("dcp-stress: Nothing new")


def test_picture_has_each_chunk_with_the_ranks_that_hold_it() -> None:
    entry = TensorEntry(
        "w", (4, 6), saved=MeshSharding((2, 2), (Replicate(), Shard(1))), loaded=ChunkSharding(0, (0, 1, 2, 3, 4))
    )
    scenario = Scenario((entry, TensorEntry("only", saved=None)), Operation(5), Operation(5))
    first, second = tensor_pictures(scenario)
    assert (first.name, first.words) == ("w", "float32[4, 6]")
    chunks = re.findall(r"<rect [^>]*><title>(.*?)</title>", first.save)
    assert chunks == ["ranks 0, 2: from [0, 0], sizes [4, 3]", "ranks 1, 3: from [0, 3], sizes [4, 3]"]
    assert "nothing on rank 4" in first.save
    assert len(re.findall(r"<rect [^>]*><title>", first.load)) == 4
    assert "rank 4: an empty chunk at [4, 0]" in first.load
    assert second.save == "<p>not there</p>"


@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 0), (2, 3, 4), (1, 2, 3, 4), (1000, 2)])
def test_any_tensor_can_be_drawn(shape: tuple[int, ...]) -> None:
    (picture,) = tensor_pictures(Scenario((TensorEntry("a", shape),)))
    sizes = [float(size) for size in re.findall(r'(?:width|height)="([\d.]+)"', picture.save)]
    assert all(0 < size < 300 for size in sizes if size), sizes


def test_shards_are_merged_and_nothing_is_counted_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with OpenedWorlds() as opened:
        finding = finding_of(KNOWN_ISSUES["bits-dtypes"].scenario, opened)
    folders = []
    for shard in (1, 2):
        counted = {"features": {"api: save": 3}, "violations": {finding.id: shard}, "behaviours": [1, shard + 1]}
        records: list[Record] = [
            {"is": "begin", "unit": "round_trip-0", "law": "round_trip"},
            progress("round_trip-0", 10 * shard, **counted),
            {"is": "finding", "unit": "round_trip-0", "finding": finding.to_data()},
            {"is": "end", "unit": "round_trip-0", "error": ""},
            tick(10 * shard),
        ]
        folders.append(campaign_of(tmp_path / str(shard), records, replace(PLAN, shard=shard, shards=2)))
    into = tmp_path / "whole"
    paths = [str(folder.path) for folder in folders]
    assert main(["merge", *paths, "--into", str(into)]) == 1
    assert capsys.readouterr().out.startswith("## dcp-stress: 1 new finding\n")
    tally = Folder(into).tally()
    assert (tally.examples, tally.behaviours, tally.elapsed) == (30, 3, 4.0)
    assert tally.features["api: save"] == 6
    assert tally.violations == {finding.id: 3}
    assert json.loads((into / "findings" / finding.id / "finding.json").read_text()) == finding.to_data()
    assert "1 new finding" in Page.read(into / "report.html")
    assert main(["fuzz", "--resume", str(into)]) == 1, "its time is over, and what it has found is news still"
    assert Folder(into).tally().examples == 30
    capsys.readouterr()
    assert main(["merge", paths[0], paths[0], "--into", str(tmp_path / "twice")]) == 2
    assert "are the same part of one campaign: leave one out" in capsys.readouterr().err
    other = tmp_path / "elsewhere"
    Folder(other).create(replace(PLAN, seed=8, storage="memory"))
    assert main(["merge", paths[0], str(other), "--into", str(tmp_path / "mixed")]) == 2
    assert f"{paths[0]} and {other} are on different storages: merge those of one" in capsys.readouterr().err


def test_story_tells_a_fault_that_was_not_reached(tmp_path: Path) -> None:
    faults = (Fault("save", 1, "writer.reset"), Fault("save", 0, "writer.finish"))
    with OpenedWorlds() as opened:
        finding = finding_of(Scenario(save=Operation(2), faults=faults), opened)
    records: list[Record] = [
        {"is": "begin", "unit": "round_trip-0", "law": "round_trip"},
        {"is": "finding", "unit": "round_trip-0", "finding": finding.to_data()},
    ]
    folder = campaign_of(tmp_path / "campaign", records)
    assert main(["report", str(folder.path)]) == 0
    page = Page.read(folder.path / "report.html")
    assert "would fail in writer.finish (OSError)" in page
    assert "fails in writer.reset (OSError)" in page


def test_history_is_drawn_by_its_steps_and_a_training_by_its_meshes(tmp_path: Path) -> None:
    steps = (
        Save("a", Operation(2)),
        Save("b", Operation(2), faults=(Fault("save", 1, "writer.finish"),)),
        Load("a", Operation(3)),
    )
    [(words, history)] = diagrams(History((ObjectEntry("x"),), steps))
    assert "a new job" in words
    assert re.findall(r"<title>(.*?)</title>", history) == [
        "3 steps over 2 checkpoints",
        *("save by 2 ranks", "rank 0", "rank 1") * 2,
        *("load by 3 ranks", "rank 0", "rank 1", "rank 2"),
    ]
    assert history.count("<polyline") == 1, "where the load's job begins"
    assert history.count("#e05a4a") == 1
    training = Training(saved=Side(parallelism=Parallelism(replicas=2, data=2, tensor=2)))
    (_, saved), (alone, loaded) = diagrams(training)
    titles = re.findall(r"<rect [^>]*><title>(.*?)</title>", saved)
    assert titles == ["replica 0", *(f"rank {n}" for n in range(4)), "replica 1", *(f"rank {n}" for n in range(4, 8))]
    assert alone == "The ranks at load: one alone."
    assert loaded.count("rank 0") == 1
    assert not list(diagrams(Scenario()))
