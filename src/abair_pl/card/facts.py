"""Facts of a bundle's provenance, in which a bundle that was sent may have anything."""

from collections.abc import Mapping
from typing import Any


def number(value: object) -> float:
    """A number; of anything else 0."""
    return float(value) if isinstance(value, int | float) else 0.0


def by_source(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A fact that is known for each source of data; empty where it is not."""
    value = facts.get(name)
    return value if isinstance(value, dict) else {}
