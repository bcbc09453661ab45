"""What befalls a checkpoint between its save and its load, in a script."""

from __future__ import annotations

from dataclasses import replace

from properties.damage_issues import find_damage_issue
from properties.verdict import Verdict
from properties.violations import UnseenDamage
from worlds.damage import Damage
from worlds.outcome import DamagedFile

from .known import CannotWrite
from .plan import Plan
from .text import indented, quoted

__all__ = ["damage_lines", "damage_plan", "unless_it_raises"]

_NAME = len("__0_0.distcp")


def damage_plan(verdict: Verdict) -> Plan:
    """What a script of damage that a load does not see has to do; raises :class:`CannotWrite` for any other."""
    scenario = verdict.scenario
    if verdict.breach is None or verdict.breach.kind is not UnseenDamage or len(scenario.damages) > 1:
        raise CannotWrite("there is no script yet for damage to a checkpoint, but for one that a load does not see")
    stale = any(damage.kind == "stale" for damage in scenario.damages)
    return Plan(verdict, find_damage_issue(verdict), (replace(scenario, damages=()),) if stale else ())


def damage_lines(plan: Plan) -> list[str]:
    """The statements that do the damage, which one rank runs, and for which the others wait."""
    lines = [line for damage in plan.scenario.damages for line in _damage(plan, damage)]
    if plan.ranks == 1 or not lines:
        return lines
    return ["dist.barrier()", "if rank == 0:", *indented(lines), "dist.barrier()"]


def unless_it_raises(plan: Plan, call: str, checks: list[str]) -> list[str]:
    """The load, and what is compared after it, if it does not see the damage and raise."""
    if not plan.scenario.damages:
        return [call, *checks]
    label = "[rank {rank}] " if plan.ranks > 1 else ""
    caught = f'print(f"{label}as it should, the load fails: {{error.failures}}", flush=True)'
    lines = ["try:", *indented([call]), "except dcp.CheckpointException as error:", *indented([caught])]
    return [*lines, *(["else:", *indented(checks)] if checks else [])]


def _damage(plan: Plan, damage: Damage) -> list[str]:
    files = plan.verdict.outcome.damaged
    if damage.metadata:
        return _of_metadata(plan, damage)
    match damage.kind:
        case "flipped":
            in_header = plan.verdict.outcome.places is not None and not damage.inside
            return [*(_in_order(files[0]) if in_header else []), *_flip(files[0], damage)]
        case "truncated":
            return [f"os.truncate({_place(files[0].file)}, {files[0].after})"]
        case "missing":
            return [f"os.remove({_place(files[0].file)})"]
        case "swapped":
            one, other = (_place(file.file) for file in files)
            return [
                f"one = {one}",
                f"other = {other}",
                'os.rename(one, f"{one}.aside")',
                "os.rename(other, one)",
                'os.rename(f"{one}.aside", other)',
            ]
        case "stale":
            older = f'os.path.join(path, "0", {quoted(files[0].file)})'
            return [f"shutil.copy({older}, {_place(files[0].file)})"]
    raise CannotWrite(f"there is no script for a file that is {damage.kind} yet")


def _place(file: str) -> str:
    return f"os.path.join(path, {quoted(file)})"


def _in_order(file: DamagedFile) -> list[str]:
    """The package writes what is under ``__metadata__`` in another order each time, which puts a byte elsewhere."""
    return [
        f'with open({_place(file.file)}, "r+b") as stream:',
        '    length = int.from_bytes(stream.read(8), "little")',
        "    header = json.loads(stream.read(length))",
        '    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))',
        "    stream.seek(8)",
        '    stream.write(json.dumps(header, separators=(",", ":")).encode().ljust(length))',
    ]


def _flip(file: DamagedFile, damage: Damage) -> list[str]:
    byte = file.changed[0][0]
    return [
        f'with open({_place(file.file)}, "r+b") as stream:',
        f"    stream.seek({byte})",
        f"    flipped = bytes([stream.read(1)[0] ^ {1 << damage.bit}])",
        f"    stream.seek({byte})",
        "    stream.write(flipped)",
    ]


def _of_metadata(plan: Plan, damage: Damage) -> list[str]:
    """Where in the metadata a byte is depends on the name of the directory, but not in which file's name."""
    metadata = plan.verdict.outcome.metadata
    names = sorted({record.file for record in metadata.storage}) if metadata is not None else []
    if damage.kind != "flipped" or not damage.inside or not names or any(len(name) != _NAME for name in names):
        raise CannotWrite("there is no script for damage to the metadata but in the names of files yet")
    name = names[damage.byte // _NAME % len(names)].encode()
    at = damage.byte % _NAME
    other = name[:at] + bytes([name[at] ^ 1 << damage.bit]) + name[at + 1 :]
    return [
        'with open(os.path.join(path, ".metadata"), "r+b") as stream:',
        f"    content = stream.read().replace({quoted(name)}, {quoted(other)})",
        "    stream.seek(0)",
        "    stream.write(content)",
    ]
