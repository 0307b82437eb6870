"""Read shards: sources, cache, archives, and streams that go on where they stopped."""
