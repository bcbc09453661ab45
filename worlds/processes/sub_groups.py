"""The sub-groups that a rank process has made, which outlive the examples as the default group does."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from ..program import make_group

__all__ = ["count_sub_groups", "sub_group_of"]

_sub_groups: dict[tuple[int, ...], Any] = {}
_made_in: list[Any] = [None]
"""The default group that they were made in, and go with."""


def sub_group_of(members: tuple[int, ...]) -> Any:
    """The group of those ranks, made once: a rank cannot know when its peers are done with one, to make another."""
    if _made_in[0] is not dist.group.WORLD:
        _sub_groups.clear()
        _made_in[0] = dist.group.WORLD
    if members not in _sub_groups:
        _sub_groups[members] = make_group(members)
    return _sub_groups[members]


def count_sub_groups() -> int:
    """How many sub-groups this rank is in, beside the default group."""
    non_member = dist.GroupMember.NON_GROUP_MEMBER
    return sum(group is not non_member for group in _sub_groups.values()) if dist.is_initialized() else 0
