"""The parts of ``scripts/weights.py``, which need nothing but Python's own library."""
