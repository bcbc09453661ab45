"""A process that has imported torch, and from which the processes of one script after the other fork.

To import torch takes a process seconds, and to run a script a fraction of one. This is run as a program, with nothing
of this project to import: it reads a line of JSON for each script from its input, and answers each with one.

A job of several ranks has what ``torchrun`` gives it: the variables, a store that the launcher keeps, and an end as
soon as one rank fails. Its processes end as any interpreter does, with what a script has registered for the exit.
"""

import gc
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

# What the scripts then need not load; torch itself imports the first in the first DTensor or optimizer of a process.
import torch._dynamo
import torch.distributed as dist
import torch.distributed.checkpoint  # noqa: F401

PATIENCE = 10
"""How many seconds ranks have that were told to end."""


@dataclass(frozen=True)
class Job:
    """What a line asks for: to run ``reproduce.py``, which is in ``directory``.

    ``ranks`` is how many processes run it as the ranks of a job; with ``None`` one runs it alone. ``plants`` are
    statements that each of them executes before it.
    """

    directory: str
    ranks: int | None
    environment: dict[str, str]
    plants: str


def serve() -> Job | None:
    """Answer every line of the input; in a process that is to run a script, return what it is."""
    for line in sys.stdin:
        job = Job(**json.loads(line))
        launcher = os.fork()
        if launcher == 0:
            os.setsid()
            if launch(job):
                return job
            os._exit(0)
        os.waitpid(launcher, 0)
        status = int(Path(job.directory, "status").read_text(encoding="utf-8"))
        print(json.dumps({"session": launcher, "status": status}), flush=True)
    return None


def launch(job: Job) -> bool:
    """Start the processes of the job and wait for them, in the launcher; true in each of them."""
    enter(job)
    pipes = [os.pipe() for _ in range(job.ranks or 0)]
    processes = set()
    for rank in range(job.ranks or 1):
        process = os.fork()
        if process == 0:
            if job.ranks is not None:
                port = os.read(pipes[rank][0], 16).decode()
                os.environ.update(variables(rank, job.ranks, port))
            return True
        processes.add(process)
    if pipes:
        # Only now, since it has threads, which a process that forks must not have.
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        for _, writing in pipes:
            os.write(writing, str(store.port).encode())
    Path("status").write_text(str(wait(processes)), encoding="utf-8")
    return False


def enter(job: Job) -> None:
    """Be in the directory of the job, with its environment, and write to a file there."""
    os.chdir(job.directory)
    os.environ.update(job.environment)
    tempfile.tempdir = None  # which the environment may say
    output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)


def variables(rank: int, ranks: int, port: str) -> dict[str, str]:
    """The environment of a rank, as ``torchrun --standalone`` makes it."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def wait(processes: set[int]) -> int:
    """The exit status of the one that failed first, which ends the others; minus its number for a signal."""
    failed = 0

    def kill(*_: object) -> None:
        for process in processes:
            os.kill(process, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    while processes:
        process, status = os.wait()
        processes.discard(process)
        if status and not failed:
            failed = os.waitstatus_to_exitcode(status)
            for other in processes:
                os.kill(other, signal.SIGTERM)
            signal.alarm(PATIENCE)
    return failed


def run(job: Job) -> None:
    """Run the script as the main module of this process, in which it stays until the interpreter has ended."""
    path = os.path.join(job.directory, "reproduce.py")
    plants, main = ModuleType("sitecustomize"), ModuleType("__main__")
    main.__file__ = path
    sys.modules.update({"sitecustomize": plants, "__main__": main})  # which stay until the interpreter has ended
    sys.argv = [path]
    exec(job.plants, plants.__dict__)
    exec(compile(Path(path).read_text(encoding="utf-8"), path, "exec"), main.__dict__)


if __name__ == "__main__":
    # What is here already is never collected: to free all of torch takes each process that ends most of a second.
    gc.freeze()
    asked = serve()
    if asked is not None:
        run(asked)
