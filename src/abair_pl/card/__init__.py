"""The model card, made from the facts in a bundle's configuration."""
