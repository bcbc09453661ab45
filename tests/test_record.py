"""Exceptions as data: what is kept of them, and what of the machine and the run is not."""

from __future__ import annotations

import pickle
from typing import NoReturn

import pytest
from torch.distributed._shard.sharding_spec import ChunkShardingSpec

from worlds.outcome import ErrorRecord
from worlds.record import MESSAGE_LIMIT, error_origin, record_error


class Broken(Exception):
    def __str__(self) -> NoReturn:
        raise KeyError("no text")


def raised(error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "record"),
    [
        (OSError(28, "full"), ErrorRecord("OSError", "[Errno 28] full")),
        (pickle.PicklingError("no"), ErrorRecord("_pickle.PicklingError", "no")),
        (Broken(), ErrorRecord(f"{__name__}.Broken", "<str() raised KeyError: 'no text'>")),
        (ValueError("/tmp/x/1/a and /tmp/x/1/b"), ErrorRecord("ValueError", "<checkpoint>/a and <checkpoint>/b")),
        (ValueError(f"<object at {hex(id(record_error))}>"), ErrorRecord("ValueError", "<object at 0x…>")),
    ],
)
def test_record_has_the_type_and_the_message(error: BaseException, record: ErrorRecord) -> None:
    assert record_error(error, path="/tmp/x/1") == record


def test_long_message_is_cut_and_its_length_does_not_tell_the_path() -> None:
    texts = {record_error(OSError(f"{path}: " + "x" * 5000), path=path).message for path in ("/a", "/a/longer/path")}
    (text,) = texts
    assert text.startswith("<checkpoint>: xxx")
    assert text.endswith("x… (5014 characters)")
    assert len(text) < MESSAGE_LIMIT + 30


def test_origin_is_the_innermost_function_of_torch_or_else_of_all() -> None:
    with pytest.raises(NotImplementedError) as caught:
        ChunkShardingSpec(dim="no dim", placements=[])
    file, function = error_origin(caught.value).split(":")
    assert file == "torch/distributed/_shard/sharding_spec/chunk_sharding_spec.py"
    assert function == "_verify_dim"
    assert error_origin(raised(KeyError("mine"))) == "test_record.py:raised"
    assert error_origin(KeyError("never raised")) == ""
