"""What the package never does: unpickle, evaluate, start a shell, or unpack archives to disk."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "abair_pl"

FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code", "pty"}
FORBIDDEN_CALLS = {
    *(
        "eval",
        "exec",
        "compile",
        "__import__",
        "os.system",
        "os.popen",
        "os.execv",
        "os.spawnv",
        "subprocess.getoutput",
    ),
    *("pickle.load", "pickle.loads", "numpy.loadtxt", "torch.jit.load", "torch.hub.load", "torch.package"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "urllib.request.urlopen"),
    *("shutil.unpack_archive", "importlib.import_module"),
}
FORBIDDEN_METHODS = {"extractall", "extract", "unpack_archive"}

ALLOWED = {
    # `pipe:COMMAND` among the shards, which is refused unless data.allow_pipe is true; aws is run without a shell.
    ("data/streaming/fetch.py", "subprocess.run"): "a command is a text only where it is allowed",
    # A degradation that the user's own configuration or command line names as package.module.Class.
    ("degradations/grammar.py", "importlib.import_module"): "names of settings, never of a bundle or a shard",
}
"""Where a call is right that is refused elsewhere, and why; docs/security.md tells it."""


def full_name(node: ast.expr, aliases: dict[str, str]) -> str:
    """``torch.load`` of a call's function, whatever the module is called there; empty for what is computed."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (owner := full_name(node.value, aliases)):
        return f"{owner}.{node.attr}"
    return ""


def aliases_of(tree: ast.AST) -> dict[str, str]:
    """What the names that a file imports stand for."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for entry in node.names:
                top = entry.name.partition(".")[0]
                known |= {entry.asname: entry.name} if entry.asname else {top: top}
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {entry.asname or entry.name: f"{node.module}.{entry.name}" for entry in node.names}
    return known


def objections(text: str, name: str) -> list[str]:
    """What a source does that is forbidden, with its line."""
    tree = ast.parse(text)
    aliases, found = aliases_of(tree), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [entry.name for entry in node.names]
            found += [f"{name}:{node.lineno} imports {module}" for module in modules if module in FORBIDDEN_IMPORTS]
        elif isinstance(node, ast.Call):
            called = full_name(node.func, aliases)
            reason = _objection(node, called)
            if reason and (name, called) not in ALLOWED:
                found.append(f"{name}:{node.lineno} {reason}")
    return found


def _objection(node: ast.Call, called: str) -> str:
    given = {entry.arg: entry.value for entry in node.keywords}
    if called in FORBIDDEN_CALLS or called in {"builtins.eval", "builtins.exec"}:
        return f"calls {called}"
    if called == "torch.load" and not _is(given.get("weights_only"), True):
        return "calls torch.load without weights_only=True"
    if called == "numpy.load" and "allow_pickle" in given:
        return "calls numpy.load with allow_pickle"
    if called.startswith("subprocess.") and ("shell" in given or not _is_list(node.args[0])):
        return f"calls {called} with a text or a shell"
    if isinstance(node.func, ast.Attribute) and node.func.attr in FORBIDDEN_METHODS:
        return f"calls .{node.func.attr}()"
    if isinstance(node.func, ast.Attribute) and node.func.attr == "from_pretrained" and called.startswith("peft."):
        return "lets PEFT read files"
    return ""


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _is_list(node: ast.expr) -> bool:
    """A list, or a variable that is no text literal: the type checker sees to the rest."""
    return not isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp)


def test_no_source_does_what_is_forbidden() -> None:
    found = [
        objection
        for file in sorted(PACKAGE.rglob("*.py"))
        for objection in objections(file.read_text(), str(file.relative_to(PACKAGE)))
    ]
    assert found == []


def test_what_is_allowed_is_still_there() -> None:
    for file, called in ALLOWED:
        tree = ast.parse((PACKAGE / file).read_text())
        aliases = aliases_of(tree)
        calls = [full_name(node.func, aliases) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert called in calls


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import torch as t\nt.load(file)",
        "import torch\ntorch.load(file, weights_only=False)",
        "from torch import load\nload(file)",
        "import numpy as np\nnp.load(file, allow_pickle=True)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
        "exec(text)",
        "import os\nos.system(text)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "import subprocess\nsubprocess.run('ls')",
        "import subprocess\nsubprocess.Popen(f'ls {name}')",
        "archive.extractall(folder)",
        "import urllib.request\nurllib.request.urlopen(url)",
        "from importlib import import_module\nimport_module(name)",
        "from peft import PeftModel\nPeftModel.from_pretrained(model, folder)",
    ],
)
def test_what_is_forbidden_is_found(text: str) -> None:
    assert len(objections(text, "some.py")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(file, weights_only=True)",
        "import subprocess\nsubprocess.run(['ls', name])",
        "import yaml\nyaml.safe_load(text)",
        "archive.extractfile(entry)",
        "import re\nre.compile(text)",
        "model.eval()",
    ],
)
def test_what_is_right_is_not(text: str) -> None:
    assert objections(text, "some.py") == []
