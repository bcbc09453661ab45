"""The ledger of storages from elsewhere: what is known to be wrong in them, by the storage of the scenario.

They take packages that need not be there, so that an entry has its scenario on the file system, and is run only where
its storage can be had (:mod:`worlds.s3`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec

from worlds.entries import TensorEntry
from worlds.layouts import ChunkSharding, Plain
from worlds.operations import Operation
from worlds.scenario import Scenario

from ..ledger import LedgerEntry
from ..reach import chance_of_items
from ..verdict import Breach, Verdict
from ..violations import WrongBits, WrongObject
from .entry import FAILED, operation_outcome, raised_alone
from .safetensors import says

__all__ = ["ISSUES", "ForeignIssue"]


@dataclass(frozen=True, kw_only=True)
class ForeignIssue(LedgerEntry):
    """An entry for what a scenario shows on one storage; ``script`` shows it without this project."""

    package: str
    storage: str
    plain: Scenario
    failure: Callable[[Verdict, Breach], bool]
    script: str

    @property
    def is_here(self) -> bool:
        """Whether its storage can be had."""
        return find_spec(self.package) is not None

    @property
    def scenario(self) -> Scenario:
        """The minimal one; raises :class:`worlds.InvalidScenario` where its storage cannot be had."""
        return replace(self.plain, storage=self.storage)

    def matches(self, verdict: Verdict, breach: Breach) -> bool:
        """Whether it is this failure, on this storage."""
        return verdict.scenario.storage == self.storage and self.failure(verdict, breach)


_TWO_PARTS = '''"""A rank cannot load two parts of one saved tensor with the default reader of s3torchconnector 1.5.0.

Run with `python`, with the packages s3torchconnector[dcp] and moto[server]. Exits with status 1 while that is so, and
with 0 when it is not. Needs no account: a server of moto runs in this process.
"""

import logging
import os

import boto3
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from moto.server import ThreadedMotoServer
from s3torchconnector import S3ClientConfig
from s3torchconnector.dcp import S3StorageReader, S3StorageWriter
from torch.distributed._shard.sharded_tensor import Shard, init_from_local_shards

logging.getLogger("werkzeug").setLevel(logging.ERROR)
os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none")
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="checkpoints")
where = "us-east-1", "s3://checkpoints/one", S3ClientConfig(force_path_style=True)

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
dcp.save({"a": torch.arange(10.0)}, storage_writer=S3StorageWriter(*where))
parts = [Shard.from_tensor_and_offsets(torch.zeros(5), [start], 0) for start in (0, 5)]
status = 0
try:
    dcp.load({"a": init_from_local_shards(parts, 10)}, storage_reader=S3StorageReader(*where))
    assert torch.equal(torch.cat([part.tensor for part in parts]), torch.arange(10.0))
    print("gone: both parts are loaded", flush=True)
except dcp.api.CheckpointException as error:
    print(f"still there: {error.failures[0][0]}", flush=True)
    status = 1
os._exit(status)  # whatever threads are left
'''

_ONE_FILE = '''"""With s3torchconnector 1.5.0 ranks that save with use_collectives=False all write to one object.

Run with `python`, with the packages s3torchconnector[dcp] and moto[server]. Exits with status 1 while that is so, and
with 0 when it is not. Needs no account: a server of moto runs in this process; it starts its two ranks itself.
"""

import logging
import os
import tempfile

import boto3
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from moto.server import ThreadedMotoServer
from s3torchconnector import S3ClientConfig
from s3torchconnector.dcp import S3StorageWriter


def save(rank, store):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    writer = S3StorageWriter("us-east-1", "s3://checkpoints/one", S3ClientConfig(force_path_style=True))
    dcp.save({f"of rank {rank}": torch.full((4,), rank)}, storage_writer=writer, use_collectives=False)


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="checkpoints")
    with tempfile.TemporaryDirectory() as directory:
        torch.multiprocessing.spawn(save, (f"{directory}/store",), nprocs=2)
    names = [each["Key"] for each in client.list_objects_v2(Bucket="checkpoints")["Contents"]]
    written = [name for name in names if name.endswith(".distcp")]
    lost = len(written) < 2
    print(f"{'still there' if lost else 'gone'}: two ranks wrote {written}", flush=True)
    os._exit(lost)  # whatever threads are left
'''


def _of_one_name(verdict: Verdict, breach: Breach) -> bool:
    """Whether a rank reads what another one wrote over its file, of ranks that each saved for themselves."""
    scenario, files = verdict.scenario, verdict.outcome.files
    writers = _ranks_with_files(scenario)
    if scenario.save.coordinated or len(writers) < 2 or breach.operation != "load":
        return False
    if not files or not all(file.name.startswith("__0_") for file in files):
        return False
    if breach.kind in (WrongBits, WrongObject):
        return True
    # Each rank has metadata of its own, so that nothing is wrong until it reads; and it is not told to the others.
    outcome = operation_outcome(verdict, breach)
    made = {scenario.all_faults[hit.index].rank for hit in outcome.hits}
    misled = set(raised_alone(outcome)) - made
    whole = len(files) > 1 or misled < writers  # of one file, its last writer finds what it wrote
    return breach.kind in FAILED and bool(misled) and misled <= writers and whole


def _ranks_with_files(scenario: Scenario) -> set[int]:
    """The ranks that write a file: each one, or where each item has its own file, those with an item."""
    ranks = range(scenario.save.world_size)
    one_each = scenario.writer.single_file_per_rank
    return {rank for rank in ranks if one_each or chance_of_items(scenario, "save", rank) != "never"}


ISSUES = (
    ForeignIssue(
        id="s3-one-name-for-all-ranks",
        title="S3StorageWriter gives every rank of a save with use_collectives=False the same name",
        loses="of a checkpoint on S3 that is saved with use_collectives=False, only what the last rank wrote is there",
        package="s3torchconnector",
        storage="worlds.s3:S3",
        plain=Scenario(
            (TensorEntry("a", (2,), saved=Plain((0,)), loaded=Plain((0,))), TensorEntry("b")),
            Operation(2, api="uncoordinated"),
            Operation(2),
        ),
        failure=_of_one_name,
        script=_ONE_FILE,
    ),
    ForeignIssue(
        id="s3-two-parts-of-one",
        title="S3StorageReader refuses to load two parts of one saved tensor, or chunk, on one rank",
        loses="a checkpoint on S3 cannot be loaded where a rank has several shards within what one rank has saved",
        package="s3torchconnector",
        storage="worlds.s3:S3",
        plain=Scenario((TensorEntry("a", (2,), loaded=ChunkSharding(0, (0, 0))),)),
        # The ranges of an item that is read twice are the same, and the reader takes that for an overlap.
        failure=says("read", r"^Overlapping ranges: (\d+-\d+) and \1$"),
        script=_TWO_PARTS,
    ),
)
