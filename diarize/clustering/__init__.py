"""Clustering: pure functions on arrays, and the stages that use them."""
