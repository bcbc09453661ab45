"""A process that has imported torch, pytest and this project, and from which others fork that run what a test asks for.

To import all that takes a process seconds of work, and most of what tests run in a process of its own takes less. This
is run as a program: it reads a line of JSON for each run from its input, and answers each with one.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import runpy
import signal
import sys
from dataclasses import dataclass
from types import ModuleType

__all__ = ["Job"]

# No module that depends on how a run has set up Hypothesis, as those of laws do.
_IMPORTED = ("torch.distributed.checkpoint", "pytest", "campaign.cli", "properties.choices")
_FIRST_DTENSOR = "torch._dynamo"  # which torch itself imports in the first DTensor or optimizer of a process
_PLUGIN = ("hypothesis", "_hypothesis_globals")


@dataclass(frozen=True)
class Job:
    """What a line asks for: to do what ``python`` does with these arguments, in ``directory`` and no other environment.

    The first argument is ``-c``, ``-m`` or the name of a file. Its output goes to the two files.
    """

    arguments: list[str]
    directory: str
    environment: dict[str, str]
    output: str
    errors: str
    seconds: float


def _import_all() -> None:
    # It imports triton where there is one, as beside CUDA, which would complain at exit of what is never collected.
    for name in (*_IMPORTED, *([] if importlib.util.find_spec("triton") else [_FIRST_DTENSOR])):
        importlib.import_module(name)
    for name in _PLUGIN:  # since pytest would complain that it comes too late to rewrite their asserts
        module = importlib.import_module(name)
        module.__doc__ = f"{module.__doc__}\nPYTEST_DONT_REWRITE"
    gc.freeze()  # what is here already is never collected, which takes each process that ends most of a second


def _serve() -> Job | None:
    """Answer every line of the input; in a process that is to run something, return what it is."""
    for line in sys.stdin:
        job = Job(**json.loads(line))
        process = os.fork()
        if process == 0:
            return job
        print(json.dumps(_ended(process)), flush=True)
    return None


def _ended(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _enter(job: Job) -> None:
    """Be in the directory of the job, with its environment and its files; a job that takes too long is killed."""
    os.environ.clear()
    os.environ.update(job.environment)
    os.chdir(job.directory)
    writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = (os.open(os.devnull, os.O_RDONLY), os.open(job.output, writing), os.open(job.errors, writing))
    for target, descriptor in enumerate(files):
        os.dup2(descriptor, target)
        os.close(descriptor)
    signal.alarm(int(job.seconds))


def _run(job: Job, path: list[str]) -> None:
    """Run it as the main module of this process, which then ends as any interpreter does."""
    path = [*filter(None, job.environment.get("PYTHONPATH", "").split(os.pathsep)), *path]
    first, *rest = job.arguments
    if first == "-c":
        sys.path[:], sys.argv[:] = ["", *path], ["-c", *rest[1:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif first == "-m":
        sys.path[:], sys.argv[:] = [job.directory, *path], rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[:], sys.argv[:] = [os.path.dirname(first), *path], job.arguments
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    own = os.environ.pop("PYTHONPATH").split(os.pathsep)
    _import_all()
    asked = _serve()
    if asked is not None:
        _enter(asked)
        _run(asked, [entry for entry in sys.path if entry not in own])
