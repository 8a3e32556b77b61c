"""How well a model tells speakers apart: error rates on trials, retrieval, and what carriers do to both."""
