"""``abair-pl bundle`` and ``abair-pl adapters``: what is done to bundles beside training."""
