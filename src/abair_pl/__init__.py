"""ABAIR, Adaptive Blind All-in-One Image Restoration, as a PyTorch Lightning project."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from abair_pl.restore import Abair
    from abair_pl.result import Result

__version__ = "1.1.0"
__all__ = ["Abair", "Result", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the classes when they are first asked for, so that ``abair-pl --help`` needs none of torch."""
    if name in ("Abair", "Result"):
        from abair_pl import restore

        return getattr(restore, name)
    message = f"module 'abair_pl' has no attribute '{name}'"
    raise AttributeError(message)
