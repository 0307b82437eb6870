"""The built-in degradations by name, and the grammar ``name:key=value,key=value`` for fixed levels."""

import inspect
import math
from collections.abc import Sequence

from abair_pl.degradations.base import Degradation, Range
from abair_pl.degradations.blur import RandomBlur
from abair_pl.degradations.haze import RandomHaze
from abair_pl.degradations.low_light import RandomLowLight
from abair_pl.degradations.noise import RandomNoise
from abair_pl.degradations.rain import RandomRainStreaks
from abair_pl.errors import InputError, unknown_name

BUILT_IN: dict[str, type[Degradation]] = {
    operator.name: operator for operator in (RandomRainStreaks, RandomHaze, RandomNoise, RandomBlur, RandomLowLight)
}
"""The paper's five, in the order of its tables."""


def parse_degradation(text: str) -> Degradation:
    """Make an operator from ``name`` or ``name:key=value,key=value``.

    A key is an argument of the operator, with or without its unit (``sigma`` stands for ``sigma_8bit``); a
    value, a finite number, fixes both ends of the argument's range.

    Raises:
        InputError: The name, a key or a value is not known; the error says which are.

    Examples:
        >>> parse_degradation("noise:sigma=25").sigma_8bit
        (25.0, 25.0)
        >>> parse_degradation("rain:severity=0.8").severity
        (0.8, 0.8)
    """
    name, _, settings = text.partition(":")
    if name not in BUILT_IN:
        raise unknown_name(name, "degradation", BUILT_IN)
    operator = BUILT_IN[name]
    arguments = inspect.signature(operator).parameters
    values: dict[str, float | Range] = {}
    for setting in filter(None, settings.split(",")):
        key, _, number = setting.partition("=")
        matches = [argument for argument in arguments if argument == key or argument.startswith(f"{key}_")]
        if len(matches) != 1:
            raise unknown_name(key, f"setting of {name}", arguments)
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            message = f"'{setting}' in '{text}' has no number; expected {key}=NUMBER, a finite one"
            raise InputError(message)
        values[matches[0]] = (value, value) if arguments[matches[0]].annotation == Range else value
    return operator(**values)  # type: ignore[arg-type]  # each subclass's own arguments, checked above


def resolve_degradations(names: Sequence[str], custom: Sequence[Degradation] = ()) -> list[Degradation]:
    """The operators of these names; custom ones come before built-in ones of the same name.

    Raises:
        InputError: A name is neither custom nor built in.
    """
    by_name = {operator.name: operator for operator in custom}
    return [by_name.get(name) or parse_degradation(name) for name in names]
