"""The processes, their groups, and the calls of DCP."""

from __future__ import annotations

from collections.abc import Iterator

from worlds.operations import Operation, PlannerOptions, WriterOptions

from .faults import failing_class
from .plan import Name, Plan
from .state import overwrite_lines, state_name
from .text import Code, Items, headed, indented, render

__all__ = [
    "call_code",
    "exit_helpers",
    "function_name",
    "group_lines",
    "on_its_ranks",
    "set_up",
    "thread_classes",
    "thread_order",
    "upload_class",
]

_THREADS_FIRST = '''\
class EagerThread(threading.Thread):
    """Which thread of the writer comes first is a race. Here it is always the new one."""

    def start(self):
        super().start()
        self.join(timeout=1)'''
_THREADS_LAST = '''\
class LateThread(threading.Thread):
    """Which thread of the writer comes first is a race. Here it is never the new one."""

    def start(self):
        pass

    def join(self):
        super().start()
        super().join()'''

_ALONE = 'dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)'
# Seen with torch 2.13, in one of ten runs whose last call raised: SIGABRT, "terminate called without an active
# exception", as a thread of gloo asks for the interpreter's lock while that ends.
_AT_EXIT = "atexit.register({})  # else gloo's threads may abort the exit"
_LEAVE = '''\
def leave():
    """Destroy the process group, and what an exception keeps of it."""
    dist.destroy_process_group()
    gc.collect()'''
# A traceback that was not caught, and a ShardedTensor that goes with the module, keep the group longer than that.
_LEAVE_AT_ONCE = '''\
def leave_at_once(kind, error, trace):
    """End with status 1, before gloo's threads may abort the exit."""
    sys.__excepthook__(kind, error, trace)
    sys.stdout.flush()
    os._exit(1)'''
_ON_ERROR = "sys.excepthook = leave_at_once"


def exit_helpers(plan: Plan) -> list[str]:
    """The functions that end the process where the last call may raise."""
    if not plan.has_group or not plan.raises:
        return []
    return [_LEAVE if plan.compares_outcome else _LEAVE_AT_ONCE]


def _at_exit(plan: Plan) -> list[str]:
    if plan.compares_outcome:
        return [_AT_EXIT.format("leave")]
    return [_AT_EXIT.format("dist.destroy_process_group"), *([_ON_ERROR] if plan.raises else [])]


def set_up(plan: Plan) -> list[str]:
    """The process group, this process's rank, and the path of the checkpoint, which all ranks share."""
    at_exit = _at_exit(plan)
    if plan.ranks == 1:
        lines = [_ALONE, *at_exit] if plan.has_group else []
        return [*lines, "path = tempfile.mkdtemp()"]
    lines = ['dist.init_process_group("gloo")', *at_exit, "rank = dist.get_rank()"]
    if plan.hangs:
        lines.append("answered = dist.new_group()  # which is not disturbed by what save() and load() do")
    return [
        *lines,
        "paths = [tempfile.mkdtemp() if rank == 0 else None]",
        "dist.broadcast_object_list(paths)",
        "path = paths[0]",
    ]


def group_lines(plan: Plan, name: Name) -> list[str]:
    """The group of the ranks that save, or load, where not all of the job do; every rank must call this."""
    if not plan.has_subgroup(name):
        return []
    size = plan.scenario.operation(name).world_size
    return [f"group = dist.new_group({'[0]' if size == 1 else f'range({size})'})"]


def on_its_ranks(plan: Plan, name: Name, lines: list[str]) -> list[str]:
    """``lines``, run by the ranks that take part in the operation."""
    size = plan.scenario.operation(name).world_size
    if plan.in_all_ranks(name) or not lines:
        return lines
    return [f"if rank {'== 0' if size == 1 else f'< {size}'}:", *indented(lines)]


_LATE_WRITER = '''\
class LateWriter({base}):
    """How far the upload gets before the caller goes on is a race. Here it waits for the caller."""

    def reset(self, checkpoint_id=None):
        overwritten.wait(timeout=60)
        super().reset(checkpoint_id)'''


def upload_class(plan: Plan) -> list[str]:
    """The class of writers that makes it certain who comes first, the caller of ``async_save`` or its thread."""
    if not plan.overwrites:
        return []
    return [_LATE_WRITER.format(base=failing_class(plan, "save", "writer") or "dcp.FileSystemWriter")]


def _orders_threads(plan: Plan) -> bool:
    """Whether the order of the writer's threads decides on the outcome."""
    return plan.scenario.writer.thread_count > 1 and any(fault.place.per_item for fault in plan.faults("save"))


def thread_classes(plan: Plan) -> list[str]:
    """The class of threads that makes their order certain, where it decides on the outcome."""
    if not _orders_threads(plan):
        return []
    return [_THREADS_FIRST if plan.scenario.save.schedule.threads_first else _THREADS_LAST]


def thread_order(plan: Plan) -> list[str]:
    """The statement that puts that class into use."""
    if not _orders_threads(plan):
        return []
    return [f"threading.Thread = {'Eager' if plan.scenario.save.schedule.threads_first else 'Late'}Thread"]


def call_code(plan: Plan, name: Name, *, head: str = "") -> str:
    """The call of DCP that saves or loads."""
    operation = plan.scenario.operation(name)
    storage = _storage(plan, name)
    planner = _planner(plan, name)
    arguments: list[Code] = [state_name(plan, name)]
    if operation.api != "legacy":
        arguments.append("checkpoint_id=path")
        if storage is not None:
            arguments.append(headed(f"storage_{'writer' if name == 'save' else 'reader'}=", storage))
    else:
        arguments.append(storage or f"dcp.FileSystem{'Writer' if name == 'save' else 'Reader'}(path)")
    if planner is not None:
        arguments.append(headed("planner=", planner))
    arguments += _where(plan, name, operation)
    if operation.api == "async":
        return "\n".join(_asynchronous(plan, arguments, head))
    return render(Items(f"{head}dcp.{function_name(operation, name)}(", tuple(arguments)))


def _asynchronous(plan: Plan, arguments: list[Code], head: str) -> list[str]:
    """The call, what the caller does to the tensors once it may, and the wait for the upload."""
    kind = plan.scenario.save.stager
    lines, close = (["overwritten = threading.Event()"] if plan.overwrites else []), []
    if kind != "writer":
        options = (
            "use_pinned_memory=False",
            f"use_shared_memory={kind == 'shared'}",
            f"use_async_staging={kind == 'background'}",
            "use_non_blocking_copy=False",
        )
        lines.append(render(Items("stager = DefaultStager(", (Items("StagingOptions(", options),))))
        arguments, close = [*arguments, "async_stager=stager"], ["stager.close()"]
    upload = "response.upload_completion" if kind == "background" else "upload"
    lines.append(render(Items(f"{upload.split('.')[0]} = dcp.async_save(", tuple(arguments))))
    if kind == "background":
        lines.append("response.staging_completion.result()")
    if plan.overwrites:
        lines += [*overwrite_lines(plan), "overwritten.set()"]
    return [*lines, f"{head}{upload}.result()", *close]


def function_name(operation: Operation, name: Name) -> str:
    """The function of DCP that is called."""
    if operation.api == "async":
        return "async_save"
    return f"{name}_state_dict" if operation.api == "legacy" else name


def _where(plan: Plan, name: Name, operation: Operation) -> list[str]:
    arguments = []
    if plan.has_subgroup(name):
        arguments.append("process_group=group")
    if operation.coordinator:
        arguments.append(f"coordinator_rank={operation.coordinator}")
    if not operation.distributed and (plan.has_group or operation.api == "legacy"):
        arguments.append("no_dist=True")
    if operation.api == "uncoordinated":
        arguments.append("use_collectives=False")
    return arguments


def _planner(plan: Plan, name: Name) -> Code | None:
    """The planner, where it is not the one that DCP takes by itself."""
    kind = name.capitalize()
    options = [f"{option}={value}" for option, value in _planner_options(plan.scenario.planner, name)]
    failing = failing_class(plan, name, "planner")
    if failing is None and not options:
        return None
    return Items(f"{failing or f'dcp.Default{kind}Planner'}(", tuple(options))


def _planner_options(options: PlannerOptions, name: Name) -> Iterator[tuple[str, bool]]:
    """Those of the operation's planner that are not torch's defaults."""
    of_save = ("dedup_save_to_lowest_rank", "enable_plan_caching")
    for option in ("flatten_state_dict", "flatten_sharded_tensors"):
        if not getattr(options, option):
            yield option, False
    for option in of_save if name == "save" else ("allow_partial_load",):
        if getattr(options, option):
            yield option, True


def _storage(plan: Plan, name: Name) -> Code | None:
    """The storage, where it is not the one that DCP takes for a path."""
    prefix = "writer" if name == "save" else "reader"
    options = _options(plan.scenario.writer) if name == "save" else []
    failing = failing_class(plan, name, prefix)
    # Where it is to stage as well, async_save must be given it: for a path alone, it takes a DefaultStager.
    stages = name == "save" and plan.scenario.save.api == "async" and plan.scenario.save.stager == "writer"
    if name == "save" and plan.overwrites:
        failing = "LateWriter"
    if failing is None and not options and not stages:
        return None
    return Items(f"{failing or f'dcp.FileSystem{prefix.capitalize()}'}(", ("path", *options))


def _options(options: WriterOptions) -> list[str]:
    """The options that are not torch's defaults; but whether files are synced makes no difference to a script."""
    arguments = []
    if not options.single_file_per_rank:
        arguments.append("single_file_per_rank=False")
    if options.thread_count != 1:
        arguments.append(f"thread_count={options.thread_count}")
    if not options.overwrite:
        arguments.append("overwrite=False")
    return arguments
