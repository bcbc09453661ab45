"""The torchrun world: the ranks of a job that torchrun has started, on one host or many; rank 0 draws, all run."""

from .job import NoJob, job_rank, job_size
from .member import serve
from .world import TorchrunWorld

__all__ = ["NoJob", "TorchrunWorld", "job_rank", "job_size", "serve"]
