"""The command line: a table of subcommands whose heavy imports happen only when one of them runs."""

import argparse
import inspect
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin

from abair_pl import __version__
from abair_pl.errors import ERROR_PREFIX, AbairError, InputError, one_line, unknown_name

_ABOUT = "Adaptive Blind All-in-One Image Restoration."
_TRAINER_COMMANDS = {
    "fit": "train a phase: --config configs/pretrain.yaml, adapter.yaml or estimator.yaml",
    "validate": "measure a phase's checkpoint on the validation shards",
    "test": "measure a phase's checkpoint on the test shards",
    "predict": "restore the photographs of the test shards",
}
_COMMANDS = {
    **_TRAINER_COMMANDS,
    "shards": "build, verify and draw shards of photographs",
    "restore": "restore photographs with a bundle",
    "app": "restore photographs by hand, on a page in the browser",
    "evaluate": "measure a bundle on pairs, or on clean photographs degraded on the fly",
    "benchmark": "measure bundles on a table of the paper: tables, figures, a report",
    "ablate": "train variants with several seeds and compare them",
    "bundle": "make a bundle of a published checkpoint, or of half the size; put figures into one",
    "adapters": "list, add, remove and merge the adapters of a bundle",
    "export": "write a bundle as one file for other runtimes: ONNX, torch.export",
    "doctor": "check this machine, the packages and the shards before a long run; the size of a preset",
}

_REPEATED = ("config", "override")
"""Options of several values that add up when they are given again, as ``fit`` takes them; of others the last counts."""

_MISSING = "arguments are required: "
"""How the parser begins its list of what is missing, without the dashes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: The command line without the program's name; ``sys.argv`` if left out.

    Returns:
        The exit status: 0 done, 1 the work failed, 2 the arguments or the input are wrong.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name need not be of the terminal's characters
    try:
        if not given or given[0] in ("-h", "--help"):
            listing = "\n".join(f"  {name:<11}{text}" for name, text in _COMMANDS.items())
            print(f"usage: abair-pl COMMAND ...\n\n{_ABOUT}\n\ncommands (each has its own --help):\n{listing}")
            return 0 if given else InputError.exit_status
        if given[0] == "--version":
            print(f"abair-pl {__version__}")
            return 0
        if given[0] not in _COMMANDS:
            raise unknown_name(given[0], "command", _COMMANDS)
        _quiet()
        return _run(given[0], given[1:])
    except AbairError as error:
        return _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        return _fail("interrupted", AbairError.exit_status)
    except BrokenPipeError:  # whoever read the output has gone; Python would say so once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return AbairError.exit_status
    except SystemExit as stop:  # --help of a subcommand
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def _run(command: str, arguments: list[str]) -> int:
    if command in _TRAINER_COMMANDS:
        from abair_pl.process_group import leaving_process_group
        from abair_pl.training import run_trainer

        with leaving_process_group():
            run_trainer([command, *arguments])
        return 0
    program = f"abair-pl {command}"
    functions = _functions(command)
    if "" in functions:
        return _call(program, functions[""], arguments)
    if not arguments or arguments[0].startswith("-"):
        listing = "\n".join(f"  {name:<8}{_summary(function)}" for name, function in functions.items())
        print(f"usage: {program} COMMAND ...\n\ncommands (each has its own --help):\n{listing}")
        return 0 if arguments else InputError.exit_status
    if arguments[0] not in functions:
        raise unknown_name(arguments[0], f"command of {program}", functions)
    return _call(f"{program} {arguments[0]}", functions[arguments[0]], arguments[1:])


def _functions(command: str) -> dict[str, Callable[..., Any]]:
    """The typed functions of a subcommand by name; the empty name for a single one."""
    if command == "shards":
        from abair_pl.data.shards import commands

        return {
            "build": commands.build,
            "verify": commands.verify,
            "show": commands.show,
            "synth": commands.synth,
            "sample": commands.sample,
            "layouts": commands.layouts,
        }
    if command == "restore":
        from abair_pl.restoring.command import restore_files

        return {"": restore_files}
    if command == "app":
        from abair_pl.app.command import app

        return {"": app}
    if command == "evaluate":
        from abair_pl.evaluation.evaluate import evaluate

        return {"": evaluate}
    if command == "benchmark":
        from abair_pl.evaluation.benchmark.command import benchmark

        return {"": benchmark}
    if command == "ablate":
        from abair_pl.evaluation.ablation.command import ablate

        return {"": ablate}
    if command == "bundle":
        from abair_pl.bundle_commands.figures import put_figures
        from abair_pl.bundle_commands.halve import halve
        from abair_pl.bundle_commands.importing import import_bundle

        return {"import": import_bundle, "halve": halve, "figures": put_figures}
    if command == "adapters":
        from abair_pl.bundle_commands import adapters

        return {
            "list": adapters.list_adapters,
            "add": adapters.add_adapter,
            "remove": adapters.remove_adapter,
            "merge": adapters.merge,
        }
    if command == "export":
        from abair_pl.export.command import export

        return {"": export}
    from abair_pl.doctor import doctor

    return {"": doctor}


def _call(program: str, function: Callable[..., Any], arguments: list[str]) -> int:
    """Call a typed function with options made of its signature and docstring.

    ``tile_px`` becomes ``--tile-px``, ``from_`` becomes ``--from``; a bool is a flag; a list takes several values, and
    is positional if required; what Python takes by position only is positional here, too.
    """
    from docstring_parser import parse as parse_docstring
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(program, description=_summary(function), exit_on_error=False)
    texts = {entry.arg_name: entry.description for entry in parse_docstring(inspect.getdoc(function) or "").params}
    parameters = inspect.signature(function, eval_str=True).parameters
    positional = [name for name, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_ONLY]
    needed = {}
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty
        option = f"--{name.rstrip('_').replace('_', '-')}"
        if name in positional:
            parser.add_argument(name, type=parameter.annotation, help=texts[name])
        elif parameter.annotation is bool:
            parser.add_argument(option, action="store_true", help=texts[name])
        elif (item := _item(parameter.annotation)) is not None:
            action = "extend" if name in _REPEATED else "store"
            parser.add_argument(name if required else option, nargs="+", type=item, help=texts[name], action=action)
        elif required:
            needed[name] = option
            parser.add_argument(option, dest=name, type=parameter.annotation, required=True, help=texts[name])
        else:
            parser.add_argument(option, type=parameter.annotation, default=parameter.default, help=texts[name])
    try:
        values = parser.parse_args(arguments).as_dict()
    except (ArgumentError, argparse.ArgumentError) as error:
        said, missing, names = one_line(str(error)).partition(_MISSING)
        listed = ", ".join(needed.get(name, name) for name in names.split(", "))
        message = f"{said}{missing}{listed}; see: {program} --help"
        raise InputError(message) from error
    status = function(*[values.pop(name) for name in positional], **values)
    return status if isinstance(status, int) else 0


def _item(annotation: Any) -> Any:
    """The type of a list's items, of ``list[int]`` or ``list[int] | None``; None for other types."""
    lists = [kind for kind in (annotation, *get_args(annotation)) if get_origin(kind) is list]
    return get_args(lists[0])[0] if lists else None


def _summary(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _fail(message: str, status: int) -> int:
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one line for all processes
        sys.stderr.write(f"{ERROR_PREFIX}{one_line(message)}\n")
    return status


def _quiet() -> None:
    """Silence what libraries say about themselves and the user can do nothing about."""
    warnings.filterwarnings("ignore", message=".*LightningCLI's args parameter is intended.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory.*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*Your `IterableDataset` has `__len__` defined.*")
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # measures are of all processes by then
    warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view strides.*")  # of one channel
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "litlogger" not in record.getMessage() and "Tip:" not in record.getMessage()
    )


if __name__ == "__main__":
    sys.exit(main())
