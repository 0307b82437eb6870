"""What adapters may be called."""

import re

from abair_pl.errors import InputError
from abair_pl.models.weights import RESERVED_NAMES


def check_adapter_name(name: str) -> None:
    """Refuse what cannot be an adapter's name.

    Raises:
        InputError: It has other than small letters, digits and _, or means something else as a blend or a label.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in RESERVED_NAMES:
        reserved = ", ".join(RESERVED_NAMES)
        message = f"'{name}' cannot name an adapter; expected small letters, digits and _, and none of {reserved}"
        raise InputError(message)
