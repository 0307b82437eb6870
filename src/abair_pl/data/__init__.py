"""Shards of photographs: built, checked, streamed."""
