"""ABAIR, Adaptive Blind All-in-One Image Restoration, as a PyTorch Lightning project."""

__version__ = "0.1.0"
