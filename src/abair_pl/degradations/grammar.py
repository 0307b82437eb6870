"""One grammar for degradations, on the command line, in YAML and in Python.

=========================================  =============================================================
``noise``                                  all kinds, all severities
``rain:severity=0.8``                      at a fixed severity
``noise:sigma=25``, ``jpeg:quality=20``    at a fixed level of an operator's own arguments
``blur:kind=defocus,radius=3``             one kind of several
``blur:radius=3+noise:sigma=25``           one after the other, in the order scene, optics, sensor, codec
``jpeg:quality=20>blur``                   one after the other, in the order given
``own_package.RandomScratches:severity=1`` a class from another package
=========================================  =============================================================
"""

import importlib
import inspect
import math
import re
from collections.abc import Mapping, Sequence

from abair_pl.degradations.base import Degradation, Range
from abair_pl.degradations.combinations import AnyDegradation, Composite, OneOf
from abair_pl.degradations.registry import BUILT_IN
from abair_pl.errors import InputError, unknown_name


def parse_degradation(text: str, own: Mapping[str, AnyDegradation] | None = None) -> AnyDegradation:
    """Make a degradation of its description.

    A setting is an argument of the operator, with or without its unit (``sigma`` stands for ``sigma_8bit``); its
    value, a finite number, fixes both ends of the argument's range. Of a degradation with several kinds, ``kind``
    chooses one; without it, a setting other than ``severity`` chooses the first kind that knows it, so that
    ``noise:sigma=25`` is white Gaussian noise and ``blur:radius=3`` defocus.

    Args:
        text: The description.
        own: What plain names stand for, before the built-in degradations.

    Raises:
        InputError: The name, a setting or a value is not known; the error says which are.

    Examples:
        >>> parse_degradation("noise:sigma=25").sigma_8bit
        (25.0, 25.0)
        >>> parse_degradation("rain:severity=0.8").severity
        (0.8, 0.8)
        >>> parse_degradation("jpeg:quality=20+blur").name
        'blur+jpeg'
    """
    parts = re.split(r"([+>])(?=[A-Za-z_])", text)
    joints = set(parts[1::2])
    if len(joints) > 1:
        message = f"'{text}' joins by + and by >; expected + for the physical order or > for the order given"
        raise InputError(message)
    members = [(own or {}).get(part) or _parse_single(part) for part in parts[::2]]
    return Composite(members, physical_order=">" not in joints) if joints else members[0]


def resolve_degradations(names: Sequence[str], custom: Sequence[str | AnyDegradation] = ()) -> list[AnyDegradation]:
    """The degradations of these names; custom ones, objects or in the grammar, come before built-in ones.

    Raises:
        InputError: A name is neither custom nor built in.
    """
    made = [parse_degradation(entry) if isinstance(entry, str) else entry for entry in custom]
    own = {degradation.name: degradation for degradation in made}
    return [own.get(name) or parse_degradation(name) for name in names]


def resolve_composites(texts: Sequence[str], degradations: Sequence[AnyDegradation]) -> list[Composite]:
    """Composites in the grammar; a member without settings is the one of that name among the degradations.

    Raises:
        InputError: A text is no composite.
    """
    own = {degradation.name: degradation for degradation in degradations}
    composites = [parse_degradation(text, own) for text in texts]
    for text, composite in zip(texts, composites, strict=True):
        if not isinstance(composite, Composite):
            message = f"composite '{text}' is a single degradation; expected several, such as blur+noise"
            raise InputError(message)
    return [composite for composite in composites if isinstance(composite, Composite)]


def _parse_single(text: str) -> AnyDegradation:
    name, _, given = text.partition(":")
    kinds = {_class_at(name): 1.0} if "." in name else BUILT_IN.get(name, {})
    if not kinds:
        raise unknown_name(name, "degradation", BUILT_IN)
    pairs = [_setting(setting, text) for setting in filter(None, given.split(","))]
    settings = dict(pairs)
    if len(settings) < len(pairs):
        message = f"'{text}' gives a setting twice; expected each once"
        raise InputError(message)
    kind = settings.pop("kind", None)
    if kind is not None:
        named = [operator.kind for operator in kinds if operator.kind]
        if kind not in named:
            raise unknown_name(str(kind), f"kind of {name}", named)
        kinds = {operator: 1.0 for operator in kinds if operator.kind == kind}
    if settings.keys() <= {"severity"}:
        made = [_made(operator, settings, text) for operator in kinds]
        return made[0] if len(made) == 1 else OneOf(made, list(kinds.values()))
    able = [operator for operator in kinds if all(_argument(operator, key) for key in settings)]
    return _made(next(iter(able or kinds)), settings, text)


def _class_at(path: str) -> type[Degradation]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a module does when it is imported
        reason = f"{type(error).__name__}: {error}"
        message = f"'{path}' cannot be imported ({reason}); expected package.module.Class, a subclass of Degradation"
        raise InputError(message) from error
    if not (isinstance(found, type) and issubclass(found, Degradation)) or _is_abstract(found):
        message = f"'{path}' is no degradation; expected a subclass of abair_pl.degradations.Degradation"
        raise InputError(message)
    return found


def _is_abstract(operator: type[Degradation]) -> bool:
    """Whether methods are still missing (Kornia's classes do not refuse to be made then)."""
    return any(getattr(getattr(operator, name), "__isabstractmethod__", False) for name in dir(operator))


def _setting(setting: str, text: str) -> tuple[str, str | float]:
    key, _, value = setting.partition("=")
    if key == "kind":
        return key, value
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        message = f"'{setting}' in '{text}' has no number; expected {key}=NUMBER, a finite one"
        raise InputError(message)
    return key, number


def _argument(operator: type[Degradation], key: str) -> str | None:
    """The argument of an operator that a setting stands for, if it is one and only one."""
    arguments = inspect.signature(operator).parameters
    found = [name for name in arguments if name == key] or [name for name in arguments if name.startswith(f"{key}_")]
    return found[0] if len(found) == 1 else None


def _made(operator: type[Degradation], settings: Mapping[str, str | float], text: str) -> Degradation:
    arguments = inspect.signature(operator, eval_str=True).parameters
    values: dict[str, object] = {}
    for key, value in settings.items():
        name = _argument(operator, key)
        if name is None:
            raise unknown_name(key, f"setting of {operator.name} in '{text}'", arguments)
        argument = arguments[name]
        ranged = argument.annotation == Range or isinstance(argument.default, tuple)
        values[name] = (value, value) if ranged else value
    try:
        return operator(**values)  # type: ignore[arg-type]  # each subclass's own arguments, looked up above
    except TypeError as error:
        message = f"'{text}' cannot be made ({error}); expected settings for all arguments without a default"
        raise InputError(message) from error
