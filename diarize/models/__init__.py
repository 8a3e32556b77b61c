"""The networks: the only inference code that imports torch."""
