"""Pictures of who spoke when and of how alike the voices are, and a page to listen by.

A picture is a PNG or SVG (`plot_timeline`, `plot_similarity`, `plot_map`); a page is one HTML file that holds the
audio too (`write_page`).
"""

from __future__ import annotations

from diarize.plot.embedding_map import plot_map
from diarize.plot.page import PAGE_SUFFIX, write_page
from diarize.plot.similarity import plot_similarity
from diarize.plot.style import SUFFIXES
from diarize.plot.timeline import plot_timeline

__all__ = ["PAGE_SUFFIX", "SUFFIXES", "plot_map", "plot_similarity", "plot_timeline", "write_page"]
