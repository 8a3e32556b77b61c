"""What the server counts, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

DELAYS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)
"""Seconds.  Fine where a person would notice: labels come a second after the speech, and this comes on top."""


class Metrics:
    """The counters of one server, in a registry of their own: two servers in a process do not mix.

    batch: the windows that fit in a batch.
    capacity: the sessions that fit in the server.
    """

    def __init__(self, batch: int, capacity: int) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.sessions = Gauge("diarize_sessions", "Connections that hold a place now", registry=registry)
        Gauge("diarize_capacity", "Connections that there are places for", registry=registry).set(capacity)
        self.begun = Counter("diarize_sessions_begun", "Sessions begun", ["how"], registry=registry)
        self.ended = Counter("diarize_sessions_done", "Sessions that came to their final answer", registry=registry)
        self.gaps = Counter("diarize_gaps", "Streams that broke off before their end", registry=registry)
        self.errors = Counter("diarize_errors", "Errors told to clients", ["code"], registry=registry)
        self.warnings = Counter("diarize_warnings", "Warnings told to clients", ["code"], registry=registry)
        self.refused = Counter("diarize_refused", "Connections refused", ["reason"], registry=registry)
        self.audio = Counter("diarize_audio_seconds", "Audio heard", registry=registry)
        self.delay = Histogram(
            "diarize_delay_seconds",
            "From the receipt of audio until all that it led to has been sent",
            buckets=DELAYS,
            registry=registry,
        )
        self.backlog = Histogram(
            "diarize_backlog_seconds",
            "Audio that has been received and not been processed yet, after each turn",
            buckets=DELAYS,
            registry=registry,
        )
        self.batches = Histogram(
            "diarize_batch_windows",
            "Windows embedded at once; the sum is all windows embedded",
            buckets=range(1, batch + 1),
            registry=registry,
        )
        self.journal_failures = Counter(
            "diarize_journal_failures", "Sessions that cannot be resumed because a journal failed", registry=registry
        )

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
