"""Tables of options, made from signatures and docstrings: the code is read by griffe, and not run."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe
import yaml

ROOT = Path(__file__).parents[1]
PHASES = ("pretrain", "adapter", "estimator")
_PACKAGE = "abair_pl"
_WRITTEN = {"None": "none", "True": "`true`", "False": "`false`", "list()": "`[]`", "dict()": "`{}`"}
_LITERAL = re.compile(r"Literal\[(.*?)\]")


def setting_table(path: str, key: str) -> str:
    """The settings of a class, with their values in the configurations of the phases.

    Args:
        path: The class, such as ``abair_pl.modules.optimization.OptimizationConfig``.
        key: Where it stands in a configuration, such as ``model.optimization``.

    Returns:
        A table in Markdown.
    """
    texts = _texts(_find(path))
    rows = []
    for parameter in _parameters(_find(path)):
        shipped = [f"`{_plain(value)}` ({phase})" for phase, value in _shipped(path, key, parameter.name)]
        cells = [f"`{parameter.name}`", _type(parameter), _default(parameter), ", ".join(shipped)]
        rows.append([*cells, texts[parameter.name]])
    return _markdown(["setting", "type", "default", "in `configs/`", "meaning"], rows)


def command_table(path: str) -> str:
    """The options of a command, named as the command line has them.

    Args:
        path: The function behind it, such as ``abair_pl.data.shards.commands.build``.

    Returns:
        A table in Markdown.
    """
    texts = _texts(_find(path))
    rows = []
    for parameter in _parameters(_find(path)):
        many = str(parameter.annotation).startswith("list[")
        positional = parameter.kind is griffe.ParameterKind.positional_only or (many and parameter.default is None)
        name = parameter.name if positional else f"--{parameter.name.rstrip('_').replace('_', '-')}"
        shown = f"`{name.upper() if positional else name}{' …' if many else ''}`"
        rows.append([shown, _type(parameter), _default(parameter), texts[parameter.name]])
    return _markdown(["option", "type", "default", "meaning"], rows)


def summary(path: str) -> str:
    """What stands before the arguments in a docstring."""
    sections = _docstring(_find(path)).parse("google")
    return next(str(section.value) for section in sections if section.kind is griffe.DocstringSectionKind.text)


@cache
def _package() -> Any:
    return griffe.load(_PACKAGE, search_paths=[ROOT / "src"], allow_inspection=False)


def _find(path: str) -> Any:
    found = _package()[path.removeprefix(f"{_PACKAGE}.")]
    return found.final_target if found.is_alias else found


def _docstring(found: Any) -> griffe.Docstring:
    if found.docstring is None:
        message = f"{found.path} has no docstring; expected one with the meaning of its options"
        raise ValueError(message)
    return found.docstring


def _parameters(found: Any) -> list[griffe.Parameter]:
    return [parameter for parameter in found.parameters if parameter.name != "self"]


def _texts(found: Any) -> dict[str, str]:
    """What the docstring says of each parameter, of a dataclass under ``Attributes``."""
    kinds = (griffe.DocstringSectionKind.parameters, griffe.DocstringSectionKind.attributes)
    sections = [section for section in _docstring(found).parse("google") if section.kind in kinds]
    entries = [entry for section in sections for entry in section.value]
    return {entry.name: " ".join(entry.description.split()).replace("|", "\\|") for entry in entries}


def _type(parameter: griffe.Parameter) -> str:
    """The annotation, with aliases of this package resolved."""
    text = str(parameter.annotation)
    names = parameter.annotation.iterate(flat=True) if isinstance(parameter.annotation, griffe.Expr) else ()
    for name in names:
        if isinstance(name, griffe.ExprName) and name.canonical_path.startswith(f"{_PACKAGE}."):
            found = _find(name.canonical_path)
            text = text.replace(name.name, str(found.value)) if found.is_attribute else text
    plain = _LITERAL.sub(lambda match: match[1].replace("'", "").replace('"', "").replace(", ", " | "), text)
    return f"`{plain}`"


def _default(parameter: griffe.Parameter) -> str:
    if parameter.default is None:
        return "required"
    text = str(parameter.default)
    if text.endswith("Config()"):
        return "see below"
    return _WRITTEN.get(text, f"`{_plain(text)}`")


def _plain(value: Any) -> str:
    """A value as a configuration has it, on one line."""
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...").strip("'\"")


@cache
def _configuration(phase: str) -> Any:
    return yaml.safe_load((ROOT / "configs" / f"{phase}.yaml").read_text())


def _shipped(path: str, key: str, name: str) -> Iterator[tuple[str, Any]]:
    """The phases whose configuration has a setting of this class, and its value."""
    for phase in PHASES:
        found, chosen = _configuration(phase), path
        for part in key.split("."):
            found = found.get(part, {})
            chosen = found.get("class_path", path)
            found = found.get("init_args", found)
        value = found.get(name, {})
        if chosen.rpartition(".")[2] == path.rpartition(".")[2] and not isinstance(value, dict):
            yield phase, value


def _markdown(heads: list[str], rows: list[list[str]]) -> str:
    kept = [index for index in range(len(heads)) if any(row[index] for row in rows)]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line[index] for index in kept) + " |" for line in lines)
