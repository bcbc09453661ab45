"""A storage as dcp-stress asks for it, with a writer and a reader of your own in the place of these."""

import torch.distributed.checkpoint as dcp


class MyStorage:
    limits = {"uncoordinated": False}  # what it does not support; what is not said is supported

    def make_writer(self, checkpoint_id: str) -> dcp.StorageWriter:
        return dcp.FileSystemWriter(checkpoint_id, sync_files=False)

    def make_reader(self, checkpoint_id: str) -> dcp.StorageReader:
        return dcp.FileSystemReader(checkpoint_id)

    def clean_up(self, checkpoint_id: str) -> None:
        """Remove what it keeps of that checkpoint elsewhere than below that path."""
