"""Amazon's DCP storage on S3, against a server on this machine: ``--storage=worlds.s3:S3``.

Takes ``pip install -e '.[s3]'``. Where ``AWS_ENDPOINT_URL`` names no server of another process, such as
``moto_server``, one runs in this process, which no other process finds what was saved on.
"""

from __future__ import annotations

import copy
import logging
import os
from typing import Any

import boto3
import torch.distributed.checkpoint as dcp
from moto.server import ThreadedMotoServer
from s3torchconnector import S3ClientConfig
from s3torchconnector._s3client import S3Client
from s3torchconnector.dcp import S3StorageReader, S3StorageWriter
from s3torchconnector.dcp.s3_file_system import S3FileSystem

from .operations import WriterOptions
from .outcome import FileRecord
from .storages import Limits, Storage

__all__ = ["S3"]

_BUCKET = "dcp-stress"
_REGION = "us-east-1"
_CONFIG = S3ClientConfig(force_path_style=True, max_attempts=3)
_OPTIONS = ("single_file_per_rank", "thread_count", "per_thread_copy_ahead", "overwrite")


class S3(Storage):
    """``S3StorageWriter`` and ``S3StorageReader``, each with a client of its own."""

    def __init__(self) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            os.environ.setdefault(name, "none")
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        self.limits = Limits(options=_OPTIONS, processes=endpoint is not None)
        self.endpoint: str = endpoint or _serve()
        self._s3: Any = boto3.client("s3", endpoint_url=self.endpoint, region_name=_REGION)
        self._s3.create_bucket(Bucket=_BUCKET)

    def at(self, endpoint: str) -> S3:
        moved = copy.copy(self)
        moved.endpoint = endpoint
        return moved

    def checkpoint_id(self, path: str) -> str:
        return f"s3://{_BUCKET}{path}"

    def make_writer(self, checkpoint_id: str, options: WriterOptions) -> dcp.StorageWriter:
        taken = {name: getattr(options, name) for name in _OPTIONS}
        writer: Any = S3StorageWriter(_REGION, checkpoint_id, s3client_config=_CONFIG, **taken)
        writer.fs = S3FileSystem(_REGION, s3_client=self._client())
        made: dcp.StorageWriter = writer
        return made

    def make_reader(self, checkpoint_id: str) -> dcp.StorageReader:
        reader: Any = S3StorageReader(_REGION, checkpoint_id, s3client_config=_CONFIG)
        streams = reader._reader_constructor
        reader.fs = S3FileSystem(_REGION, s3_client=self._client(), reader_constructor=streams)
        made: dcp.StorageReader = reader
        return made

    def list_files(self, checkpoint_id: str) -> tuple[FileRecord, ...]:
        """Without the metadata."""
        start = self._key(checkpoint_id)
        sizes = {key.removeprefix(start): size for key, size in self._listed(start)}
        return tuple(FileRecord(name, size) for name, size in sorted(sizes.items()) if not name.endswith(".metadata"))

    def clean_up(self, checkpoint_id: str) -> None:
        for key, _ in self._listed(self._key(checkpoint_id)):
            self._s3.delete_object(Bucket=_BUCKET, Key=key)

    def _client(self) -> S3Client:
        return S3Client(_REGION, endpoint=self.endpoint, s3client_config=_CONFIG)

    def _key(self, checkpoint_id: str) -> str:
        return f"{checkpoint_id.removeprefix(f's3://{_BUCKET}/')}/"

    def _listed(self, prefix: str) -> list[tuple[str, int]]:
        found = self._s3.list_objects_v2(Bucket=_BUCKET, Prefix=prefix).get("Contents", [])
        return [(each["Key"], each["Size"]) for each in found]


def _serve() -> str:
    """The address of a server that runs in this process."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    return f"http://127.0.0.1:{port}"
