"""Classical methods, which learn nothing, as references beside the network."""
