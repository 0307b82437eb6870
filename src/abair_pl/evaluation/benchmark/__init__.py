"""Suites: methods measured on tasks, as the tables of the paper have them."""
