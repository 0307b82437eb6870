"""Layers, backbone, heads, adapters, blend and estimator."""
