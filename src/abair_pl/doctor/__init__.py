"""``abair-pl doctor``: what this machine has, and what would break before a long run does."""

from abair_pl.doctor.command import doctor

__all__ = ["doctor"]
