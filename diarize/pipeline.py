"""The architecture on one screen: the settings and the chains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diarize.channels import Channels
from diarize.clustering.memory import EmbeddingFile
from diarize.clustering.naming import Identify, once
from diarize.clustering.offline import ClusteringConfig, OfflineClustering
from diarize.clustering.online import OnlineClustering, OnlineConfig
from diarize.config import from_mapping, merge, parse_settings, read_recipe
from diarize.corrections import kept_labels, lay_over, relabelled, told
from diarize.crosstalk import CrosstalkConfig, own_voices
from diarize.drive import drive
from diarize.embedded import EmbeddedRecording
from diarize.embedding import EmbeddingConfig, alike, embed
from diarize.formats import Diarization, to_annotation
from diarize.linking import LinkingConfig
from diarize.live import DetectedSpeech, LiveConfig, LiveFront
from diarize.local_voices import SegmentationConfig
from diarize.profiles.identifier import identifier
from diarize.profiles.matching import IdentificationConfig
from diarize.profiles.people import People
from diarize.revisions import RevisedTurns
from diarize.rttm import turns_from
from diarize.segmentation import Segmentation, load_segmenter
from diarize.sources import Audio, Heard, Progress, Source, open_source
from diarize.stage import Stage
from diarize.turns import Turns, TurnsConfig
from diarize.types import AudioChunk, Clock, EmbeddingWindow, Merge, SpeechWindow, TurnUpdate
from diarize.vad import VadConfig, VoiceActivityDetection
from diarize.windows import SlidingWindows, WindowsConfig

if TYPE_CHECKING:
    from pyannote.core import Annotation


@dataclass(frozen=True)
class PipelineConfig:
    """All settings of a diarization.  Defaults live in the parts; a recipe states only what differs."""

    vad: VadConfig = field(default_factory=VadConfig)
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    clustering: ClusteringConfig = field(default_factory=ClusteringConfig)
    turns: TurnsConfig = field(default_factory=TurnsConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    online: OnlineConfig = field(default_factory=OnlineConfig)
    crosstalk: CrosstalkConfig = field(default_factory=CrosstalkConfig)
    linking: LinkingConfig = field(default_factory=LinkingConfig)
    identification: IdentificationConfig = field(default_factory=IdentificationConfig)


def load_config(
    recipe: str | Path | None = None, settings: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> PipelineConfig:
    """The settings of a recipe (the name of a shipped one, or a path), changed by `settings` ("vad.onset=0.6").

    base: what a recipe changes, such as `EmbeddedRecording.settings`; without it, the defaults.

    Raises ValueError for an unknown recipe, a file that is not TOML, an unknown key or a value that cannot be.
    """
    values: dict[str, Any] = {}
    if recipe is not None:
        values = read_recipe(recipe)
        embedding = values.get("embedding")
        if isinstance(embedding, dict) and "trust" in embedding:  # or a file from somewhere could let a program run
            raise ValueError(f"recipe {recipe} sets embedding.trust, which is yours to say: --set embedding.trust=true")
    return from_mapping(PipelineConfig, merge(merge(base or {}, values), parse_settings(settings)))


class SpeakerDiarization:
    """Who spoke when: call it with a recording, any number of times.

    >>> diarization = SpeakerDiarization()
    >>> annotation = diarization("meeting.wav")  # doctest: +SKIP

    people: who is enrolled (`diarize.profiles`), to be named where they speak.
    beside: a thread in which a recording's windows are embedded while the rest of it is heard; a program that has told
        torch to take half of the cores (`diarize.engines.local.beside`) so uses all of them well.

    Raises ValueError for a model that is not there, a device that is not available, steps of the segmentation that do
    not fit, and people of another model.
    """

    def __init__(
        self, config: PipelineConfig | None = None, people: People | None = None, beside: Executor | None = None
    ) -> None:
        from diarize.models.encoder import SpeakerEncoder  # torch is loaded when a pipeline is made, not before

        self.config, self.people, self._beside = config or PipelineConfig(), people, beside
        self.encoder = SpeakerEncoder.from_pretrained(
            self.config.embedding.model, compute=self.config.embedding.compute, trust=self.config.embedding.trust
        )
        self.segmenter = load_segmenter(self.config.segmentation, self.config.embedding.compute)
        if self.segmenter is not None:
            self.front()  # refuses steps that do not fit the network
        self._identifier()  # refuses people of another model

    def front(self) -> Segmentation | DetectedSpeech:
        """A new stream's first half: audio to windows of speech."""
        if self.segmenter is not None:
            return Segmentation(self.config.segmentation, self.segmenter, VoiceActivityDetection(self.config.vad))
        return DetectedSpeech(VoiceActivityDetection(self.config.vad), SlidingWindows(self.config.windows))

    def embed(self, windows: Sequence[SpeechWindow]) -> list[EmbeddingWindow]:
        """The heavy step between the halves."""
        return embed(self.encoder, windows, self._length, (self.config.embedding.batch,))

    @cached_property
    def live_embed(self) -> Callable[[Sequence[SpeechWindow]], list[EmbeddingWindow]]:
        """The same, to the bit, for live streams, whose windows come few at a time; how few may, is tried at first."""
        sizes = alike(self.encoder, self._length, self.config.embedding.batch)
        return partial(embed, self.encoder, length=self._length, sizes=sizes)

    @property
    def _length(self) -> int:
        """Of a window, in samples."""
        return (self.config.windows if self.segmenter is None else self.config.segmentation).samples

    def live_front(self) -> Stage[AudioChunk, SpeechWindow | Clock]:
        """A new live stream's first half: the same windows, on a clock."""
        return LiveFront(self.front(), self.config.live)

    def live_back(self, embeddings: EmbeddingFile) -> Stage[EmbeddingWindow | Clock | Merge, TurnUpdate]:
        """A new live stream's second half: turns that are shown at once and corrected; every embedding is kept."""
        config = self.config
        clustering = OnlineClustering(config.clustering, config.online, embeddings, self._identifier())
        return clustering | RevisedTurns(config.turns, config.live, config.online.buffer)

    def _identifier(self) -> Identify | None:
        return identifier(self.people, self.encoder.fingerprint, self.config.identification)

    def live(self, embeddings: EmbeddingFile | None = None) -> Live:
        """A live stream, for one speaker at the microphone or a program; see `Live`."""
        return Live(self, EmbeddingFile() if embeddings is None else embeddings)

    def embedded(
        self, audio: Audio | Source, progress: Progress | None = None, *, per_channel: bool = False
    ) -> EmbeddedRecording:
        """A recording after the network: all that clustering it, now or later, needs.

        per_channel: its channels are not mixed down, and what leaks from one into another is left out there.

        Raises `diarize.audio.AudioError` for what is no readable audio.
        """
        source = open_source(audio)
        heard = Heard(source, progress)
        if per_channel:
            channels = self._apart(heard.apart())
        else:
            channels = (tuple(drive(self.front(), self.embed, heard, self.config.embedding.batch, self._beside)),)
        return EmbeddedRecording(source.uri, heard.samples, self.encoder.fingerprint, channels, asdict(self.config))

    def _apart(self, chunks: Iterable[tuple[AudioChunk, ...]]) -> tuple[tuple[EmbeddingWindow, ...], ...]:
        """The windows of each channel."""
        front = Channels(self.front)

        def embed(numbered: Sequence[tuple[int, SpeechWindow]]) -> list[tuple[int, EmbeddingWindow]]:
            embedded = self.embed([window for _, window in numbered])
            return [(channel, window) for (channel, _), window in zip(numbered, embedded, strict=True)]

        found = list(drive(front, embed, chunks, self.config.embedding.batch, self._beside))
        powers = front.powers
        windows = [[window for channel, window in found if channel == number] for number in range(max(1, len(powers)))]
        return own_voices(windows, powers, self.config.crosstalk)

    def diarize(self, audio: Audio | Source, progress: Progress | None = None) -> Diarization:
        """Everything that is known about a recording.

        Raises `diarize.audio.AudioError` for what is no readable audio.
        """
        return recluster(self.embedded(audio, progress), self.config, self.people)

    def __call__(self, audio: Audio | Source, progress: Progress | None = None) -> Annotation:
        """The turns as pyannote's Annotation; see `diarize`."""
        result = self.diarize(audio, progress)
        return to_annotation(turns_from(result.updates), result.uri)


class Live:
    """One live stream: push the audio as it comes; the newest update of each id is what to show.

    After `flush` the turns are those of the offline run over the same audio: the same boundaries and the same partition
    into speakers, under the labels shown live.
    """

    def __init__(self, diarization: SpeakerDiarization, embeddings: EmbeddingFile) -> None:
        self._embed = diarization.live_embed
        self._front, self._back = diarization.live_front(), diarization.live_back(embeddings)

    def push(self, chunk: AudioChunk) -> list[TurnUpdate]:
        """More audio, of any length; it follows what came before.  What changes in what is shown."""
        return self._through(self._front.push(chunk))

    def merge(self, speaker: int, into: int) -> list[TurnUpdate]:
        """Two speakers, by the numbers in their labels, are one person."""
        return self._back.push(Merge(speaker, into))

    def flush(self) -> list[TurnUpdate]:
        """The audio is over: every turn, final."""
        return self._through(self._front.flush()) + self._back.flush()

    def _through(self, items: Sequence[SpeechWindow | Clock]) -> list[TurnUpdate]:
        embedded = iter(self._embed([item for item in items if isinstance(item, SpeechWindow)]))
        between = [item if isinstance(item, Clock) else next(embedded) for item in items]
        return [update for item in between for update in self._back.push(item)]


def back(
    config: PipelineConfig,
    speakers: int = 0,
    turns: int = 0,
    taken: Collection[str] = frozenset(),
    identify: Identify | None = None,
) -> Stage[EmbeddingWindow, TurnUpdate]:
    """A new stream's second half, offline: embeddings to turns.

    speakers, turns: so many the recording has already, on other channels.
    taken: labels that nobody else may get.
    identify: tells who the speakers are; None: nobody is enrolled.
    """
    return OfflineClustering(config.clustering, identify) | Turns(config.turns, speakers, turns, taken)


def recluster(
    recording: EmbeddedRecording,
    config: PipelineConfig,
    people: People | None = None,
    before: Diarization | None = None,
) -> Diarization:
    """Who spoke when, from the embeddings: what `SpeakerDiarization.diarize` says, in no time and without a network.

    Where the channels were told apart, each has speakers of its own.  The corrections hold in the answer; whom they
    name is nobody else.

    people: who is enrolled, to be named where they speak.
    before: what it says with these settings and without corrections, where that is known already.
    Raises ValueError where corrections name more people than there may be speakers, and for people of another model.
    """
    updates: list[TurnUpdate] = []
    channels: dict[str, int] = {}
    names = {turn.speaker for turn in recording.corrections}
    identify = identifier(people, recording.model, config.identification, names)
    for channel, windows in enumerate(told(recording.channels, recording.corrections), start=1):
        chain = back(config, len(channels), len(updates), names | channels.keys(), identify)
        said = [update for window in windows for update in chain.push(window)] + chain.flush()
        channels |= {update.speaker: channel for update in said if update.speaker is not None}
        updates += said
    updates = once(updates)
    if recording.corrections:
        before = before or recluster(replace(recording, corrections=()), config)
        labels = kept_labels(updates, before.updates, names)
        updates = lay_over([relabelled(update, labels) for update in updates], recording.corrections)
        channels = {labels[name]: channel for name, channel in channels.items()}
    told_apart = channels if len(recording.channels) > 1 else {}
    return Diarization(recording.uri, recording.duration, tuple(updates), asdict(config), told_apart)
