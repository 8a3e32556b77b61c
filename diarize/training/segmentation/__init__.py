"""The training of the network that says who of a few local voices talks."""
