"""``abair-pl restore``: photographs in, photographs out."""
