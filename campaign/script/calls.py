"""The calls of DCP."""

from __future__ import annotations

from collections.abc import Iterator

from worlds.operations import Operation, PlannerOptions, WriterOptions
from worlds.storages import FILE_SYSTEM

from .extensions import extension_arguments
from .faults import failing_class
from .files import file_faults, on_failing_files
from .known import CannotWrite
from .plan import EarlierSave, Name, Plan
from .races import first_method, late_writer
from .state import overwrite_lines, state_name
from .storage import StorageClass, storage_class
from .text import Code, Items, headed, quoted, render
from .use import Use

__all__ = ["call_code", "function_name", "result_lines"]


def call_code(plan: Plan, name: Name, *, head: str = "") -> str:
    """The call of DCP that saves or loads."""
    operation = plan.scenario.operation(name)
    if plan.by == "broadcast" and name == "save":
        return f"torch.save({state_name(plan, name)}, {plan.path})"
    made: list[str] = []
    storage = _kept(plan, name, "writer" if name == "save" else "reader", _storage(plan, name), made)
    planner = _kept(plan, name, "planner", _planner(plan, name), made)
    arguments: list[Code] = [state_name(plan, name)]
    if operation.api != "legacy":
        if operation.tells_path:
            arguments.append(f"checkpoint_id={_path(plan, name)}")
        if storage is not None:
            arguments.append(headed(f"storage_{'writer' if name == 'save' else 'reader'}=", storage))
    else:
        arguments.append(storage or f"{_class(plan, name).name}({_path(plan, name)})")
    if planner is not None:
        arguments.append(headed("planner=", planner))
    arguments += _where(plan, name, operation)
    if operation.uploads:
        return "\n".join([*made, *_asynchronous(plan, arguments, head)])
    return "\n".join([*made, render(Items(f"{head}dcp.{function_name(operation, name)}(", tuple(arguments)))])


def _kept(plan: Plan, name: Name, kind: str, code: Code | None, made: list[str]) -> Code | None:
    """The variable that it is in, where it is used again; what is ``made`` for that comes first."""
    waits = kind == "writer" and plan.is_overtaken
    use = plan.uses.get(kind, Use("slow_writer", is_new=True, is_last=True) if waits else None)
    if use is None or code is None:
        return code
    if use.is_new:
        made.append(render(headed(f"{use.variable} = ", code)))
    elif kind != "planner" and file_faults(plan, name):
        made.append(render(on_failing_files(plan, name, use.variable)))
    if waits:
        method = f"{use.variable}.{first_method(plan)}"
        made.append(f"{method} = late({method})")
    return use.variable


def _asynchronous(plan: Plan, arguments: list[Code], head: str) -> list[str]:
    """The call, what the caller does to the tensors once it may, and the wait for the upload."""
    if plan.in_flight:
        return _in_flight(plan, arguments)
    kind = plan.scenario.save.stager
    lines = ["overwritten = threading.Event()"] if plan.overwrites else []
    if kind != "writer":
        stager = _stager(plan)
        if stager.is_new:
            options = (
                f"use_pinned_memory={'pinned' in kind}",
                f"use_shared_memory={'shared' in kind}",
                f"use_async_staging={'background' in kind}",
                f"use_non_blocking_copy={'pinned' in kind}",
            )
            lines.append(render(Items(f"{stager.variable} = DefaultStager(", (Items("StagingOptions(", options),))))
        arguments = [*arguments, f"async_stager={stager.variable}"]
    called = _upload(plan)
    lines.append(render(Items(f"{called} = dcp.async_save(", tuple(arguments))))
    if "background" in kind:
        is_synchronized = "synchronized" in kind
        staged = f"{_stager(plan).variable}.synchronize_staging()"
        lines.append(staged if is_synchronized else f"{called}.staging_completion.result()")
    if plan.overwrites:
        lines += [*overwrite_lines(plan), "overwritten.set()"]
    return lines if plan.is_overtaken else [*lines, *result_lines(plan, head=head)]


def result_lines(plan: Plan, *, head: str = "") -> list[str]:
    """The wait for an upload, and the end of what has staged it."""
    kind = plan.scenario.save.stager
    completed = ".upload_completion" if "background" in kind else ""
    close = [f"{_stager(plan).variable}.close()"] if kind != "writer" and _stager(plan).is_last else []
    return [f"{head}{_upload(plan)}{completed}.result()", *close]


def _upload(plan: Plan) -> str:
    """The variable of what async_save returns."""
    if plan.is_overtaken:
        return "slow"
    return "response" if "background" in plan.scenario.save.stager else "upload"


def _stager(plan: Plan) -> Use:
    """The stager of an upload, which is closed after that, unless it is used again."""
    alone = Use("slow_stager" if plan.is_overtaken else "stager", is_new=True, is_last=True)
    return plan.uses.get("stager", alone)


def _in_flight(plan: Plan, arguments: list[Code]) -> list[str]:
    """The first of two calls; or the second one, and the wait for both uploads, which may then begin."""
    if plan.scenario.save.stager != "writer":
        raise CannotWrite("there is no script for two uploads with a stager of their own yet")
    if isinstance(plan, EarlierSave):
        return ["called = threading.Event()", render(Items("first = dcp.async_save(", tuple(arguments)))]
    second = render(Items("second = dcp.async_save(", tuple(arguments)))
    return [second, "called.set()", "first.result()", "second.result()"]


def function_name(operation: Operation, name: Name) -> str:
    """The function of DCP that is called."""
    if operation.uploads:
        return "async_save"
    return f"{name}_state_dict" if operation.api == "legacy" else name


def _where(plan: Plan, name: Name, operation: Operation) -> list[str]:
    arguments = []
    if plan.has_subgroup(name):
        arguments.append("process_group=group")
    if operation.coordinator:
        arguments.append(f"coordinator_rank={operation.coordinator}")
    alone = operation.no_dist or not operation.distributed
    if alone and (plan.has_group or operation.api == "legacy"):
        arguments.append("no_dist=True")
    if not operation.coordinated:
        arguments.append("use_collectives=False")
    return arguments


def _planner(plan: Plan, name: Name) -> Code | None:
    """The planner, where it is not the one that DCP takes by itself."""
    kind = name.capitalize()
    options = [f"{option}={value}" for option, value in _planner_options(plan.scenario.planner, name)]
    failing = failing_class(plan, name, "planner")
    if plan.by == "broadcast":
        return Items("DynamicMetaLoadPlanner(", tuple(options))
    if failing is None and not options and "planner" not in plan.uses:
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
    if plan.by == "broadcast":
        return _broadcasting_reader(plan)
    if name == "load" and plan.reads_with is not None:
        return plan.reads_with
    kind = _class(plan, name)
    options = [*kind.arguments, *(_options(plan.scenario.writer) if name == "save" else [])]
    options += extension_arguments(plan, name)
    threads = plan.scenario.writer.thread_count
    if name == "save" and plan.scenario.storage == "consolidated" and threads != 1:
        options.append(f"thread_count_consolidation={threads}")
    failing = failing_class(plan, name, "writer" if name == "save" else "reader")
    # Where it is to stage as well, async_save must be given it: for a path alone, it takes a DefaultStager.
    stages = name == "save" and plan.scenario.save.uploads and plan.scenario.save.stager == "writer"
    failing = (late_writer(plan) if name == "save" else None) or failing
    files = file_faults(plan, name)
    if any(fault.call.endswith(".fsync") for fault in files) and not plan.scenario.writer.sync_files:
        options.append("sync_files=False")
    operation = plan.scenario.operation(name)
    kept = plan.is_overtaken or bool({"writer", "reader"}.intersection(plan.uses))
    found = plan.scenario.storage == FILE_SYSTEM and operation.tells_path and not kept
    if operation.by_path or (found and failing is None and not options and not stages and not files):
        return None
    return on_failing_files(plan, name, Items(f"{failing or kind.name}(", (_path(plan, name), *options)))


def _path(plan: Plan, name: Name) -> str:
    """The expression for the checkpoint's path."""
    if plan.scenario.operation(name).by_path and plan.scenario.storage == "fsspec":
        return f'"file://" + {plan.path}'
    return f"pathlib.Path({plan.path})" if plan.scenario.operation(name).pathlike else plan.path


def _class(plan: Plan, name: Name) -> StorageClass:
    return storage_class(plan.scenario.storage, "writer" if name == "save" else "reader")


def _broadcasting_reader(plan: Plan) -> Code:
    """The reader of a ``torch.save`` file, which takes its coordinator as a rank of the job."""
    operation = plan.scenario.load
    root = operation.global_rank(operation.coordinator)
    return Items("BroadcastingTorchSaveReader(", (plan.path, *([f"coordinator_rank={root}"] if root else [])))


def _options(options: WriterOptions) -> list[Code]:
    """The options that are not torch's defaults; but whether files are synced makes no difference to a script."""
    arguments: list[Code] = []
    if not options.single_file_per_rank:
        arguments.append("single_file_per_rank=False")
    if options.thread_count != 1:
        arguments.append(f"thread_count={options.thread_count}")
    if options.file_indices:
        numbers = tuple(f"{quoted(name)}: {number}" for name, number in options.file_indices)
        arguments.append(Items("fqn_to_index_mapping={", numbers))
    if options.per_thread_copy_ahead != WriterOptions().per_thread_copy_ahead:
        arguments.append(f"per_thread_copy_ahead={options.per_thread_copy_ahead}")
    if not options.overwrite:
        arguments.append("overwrite=False")
    return arguments
