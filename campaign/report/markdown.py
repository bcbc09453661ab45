"""The report in short, for a chat or an issue."""

from __future__ import annotations

from collections.abc import Iterator

from .content import Content

__all__ = ["markdown"]


def markdown(content: Content) -> str:
    """New first, then known, then fixed."""
    return "\n".join(_lines(content)) + "\n"


def _lines(content: Content) -> Iterator[str]:
    plan, tally = content.plan, content.tally
    versions = ", ".join(f"{name} {version}" for name, version in plan.versions)
    yield f"## dcp-stress: {content.headline}"
    yield ""
    yield (
        f"{tally.examples:,} examples of {len(plan.laws)} laws in {tally.elapsed:.0f} s with {plan.workers} workers in "
        f"the {plan.world} world ({versions}; seed {plan.seed}), {tally.behaviours:,} behaviours."
    )
    if plan.on:
        yield ""
        yield f"It was {_text(plan.on)}."
        yield from (f"- {_text(line)}" for line in plan.left_out)
    for shown in content.new:
        finding = shown.finding
        yield ""
        yield f"### New: `{finding.id}`, {shown.often}"
        yield ""
        yield f"{_text(finding.headline)}"
        yield ""
        yield "```python"
        yield finding.python
        yield "```"
        yield ""
        yield f"Again: `dcp-stress replay {shown.directory}` (law `{finding.law}`)."
    for lost in tally.lost:
        yield ""
        yield f"### Lost: unit `{lost.unit}` of `{lost.law}`, whose worker {lost.how}"
    for (law, error), count in sorted(tally.errors.items()):
        yield ""
        yield f"### The tester failed in {count} units of `{law}`: {_text(error)}"
    if content.again:
        yield ""
        yield "### Found before"
        yield ""
        for name, state, headline in content.again:
            yield f"- {state}: `{name}`: {_text(headline)}"
    if content.known:
        yield ""
        yield f"### {len(content.known)} known issues were met"
        yield ""
        for entry, count in content.known:
            upstream = f" ({entry.upstream})" if entry.upstream else ""
            yield f"- {count:,} × `{entry.id}`: {_text(entry.title)}{upstream}"
    never = [f"{covered.group} ({', '.join(covered.never)})" for covered in content.never]
    if content.untouched:
        never.append(f"nothing at all, since laws that have it did not run: {'; '.join(content.untouched)}")
    if never:
        yield ""
        yield "<details><summary>Never drawn</summary>"
        yield ""
        yield from (f"- {_text(each)}" for each in never)
        yield ""
        yield "</details>"


def _text(line: str) -> str:
    """As Markdown shows it and does not take it for markup."""
    return line.replace("\\", "\\\\").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
