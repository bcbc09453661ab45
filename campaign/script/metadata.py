"""How a script checks what the metadata of the checkpoint says."""

from __future__ import annotations

from properties.violations import BadChunks, BadStorageIndex, Disagreement, MetadataUnreadable, MetadataWrong

from .known import CannotWrite
from .plan import Plan
from .storage import storage_class
from .text import Items, quoted, render

__all__ = ["checks_metadata", "metadata_checks"]

_KINDS = (BadChunks, BadStorageIndex, MetadataUnreadable, MetadataWrong)

_TILING = """\
for fqn, tensor in metadata.state_dict_metadata.items():
    if not isinstance(tensor, TensorStorageMetadata):
        continue
    covered = torch.zeros(tensor.size, dtype=torch.int32)
    for chunk in tensor.chunks:
        ends = [start + size for start, size in zip(chunk.offsets, chunk.sizes, strict=True)]
        if any(end > extent for end, extent in zip(ends, tensor.size, strict=True)):
            sys.exit(f"{fqn} of {tensor.size}: {chunk} is outside")
        covered[tuple(map(slice, chunk.offsets, ends))] += 1
    if not tensor.chunks or (covered != 1).any():
        sys.exit(f"{fqn} of {tensor.size}: the chunks do not tile it: {tensor.chunks}")"""
_INDEX = """\
expected = set()
for fqn, entry in metadata.state_dict_metadata.items():
    if isinstance(entry, TensorStorageMetadata):
        expected |= {(fqn, tuple(chunk.offsets)) for chunk in entry.chunks}
    else:
        expected.add((fqn, None))
listed = {(index.fqn, index.offset and tuple(index.offset)) for index in metadata.storage_data}
if listed != expected:
    sys.exit(f"without a place in the files: {expected - listed}; not saved: {listed - expected}")
end = {}
places = metadata.storage_data.values()
for place in sorted(places, key=lambda place: (place.relative_path, place.offset)):
    file = os.path.join(path, place.relative_path)
    if place.offset < end.get(file, 0) or place.offset + place.length > os.path.getsize(file):
        sys.exit(f"{place} overlaps another, or is not in the file")
    end[file] = place.offset + place.length"""

_RETURNED = """\
for part in ("state_dict_metadata", "storage_data"):
    if getattr(returned, part) != getattr(metadata, part):
        sys.exit(f"save() returned {getattr(returned, part)}, and wrote {getattr(metadata, part)}")"""


def checks_metadata(plan: Plan) -> bool:
    """Whether it is the metadata that is wrong."""
    breach = plan.verdict.breach
    if breach is None:
        return False
    return breach.kind in _KINDS or (breach.kind is Disagreement and breach.headline.startswith("metadata:"))


def metadata_checks(plan: Plan) -> list[str]:
    """The statements that read the metadata and check it, after the save."""
    if not plan.scenario.save.coordinated:
        raise CannotWrite("there is no script for the metadata of a save with use_collectives=False yet")
    reader = storage_class(plan.scenario.storage, "reader").name
    if plan.kind is MetadataUnreadable:
        return [f"{reader}({plan.path}).read_metadata()"]
    if plan.is_metadata_alone:
        return ["metadata = _create_default_local_metadata(state_dict)", *_checks(plan)]
    return [f"metadata = {reader}({plan.path}).read_metadata()", *_checks(plan)]


def _checks(plan: Plan) -> list[str]:
    if plan.kind is BadChunks:
        return [_TILING]
    if plan.kind is BadStorageIndex:
        return [_INDEX.replace("join(path,", f"join({plan.path},")]
    if plan.kind is MetadataWrong:
        return _names(plan)
    if plan.kind is Disagreement:
        return [_RETURNED]
    raise CannotWrite("there is no script for what is wrong with this metadata yet")


def _names(plan: Plan) -> list[str]:
    saved = []
    for unit in plan.scenario.units("save"):
        tensor = unit.tensor
        what = "None" if tensor is None else f"(torch.{tensor.dtype}, {list(tensor.shape)})"
        saved.append(f"{quoted(unit.fqn)}: {what}")
    said = """\
said = {}
for fqn, entry in metadata.state_dict_metadata.items():
    is_tensor = isinstance(entry, TensorStorageMetadata)
    said[fqn] = (entry.properties.dtype, list(entry.size)) if is_tensor else None"""
    return [
        render(Items("expected = {", tuple(saved))),
        said,
        'if said != expected:\n    sys.exit(f"{expected} was saved, and the metadata says {said}")',
    ]
