"""Ablations: variants of the three phases, each trained with several seeds and measured on one suite."""
