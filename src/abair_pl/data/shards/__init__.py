"""Make shards: known folder structures, deterministic and resumable builds, checks."""
