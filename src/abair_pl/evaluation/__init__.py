"""Protocols, measurements, tables and figures."""
