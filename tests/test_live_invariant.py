"""The invariant: a live stream ends with the turns of the offline run, however its audio came and was embedded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.clustering.memory import EmbeddingFile
from diarize.config import recipes
from diarize.drive import drive
from diarize.embedded import EmbeddedRecording
from diarize.pipeline import SpeakerDiarization, load_config, recluster
from diarize.profiles.people import People
from diarize.rttm import Turn, milliseconds, newest, read_rttm
from diarize.server.journal import Journal
from diarize.server.messages import Start
from diarize.server.saved import dumps
from diarize.server.session import Session
from diarize.sources import read
from diarize.types import SAMPLE_RATE, AudioChunk, Clock, EmbeddingWindow, Merge, Samples, SpeechWindow, TurnUpdate
from tests import laws
from tests.command import SAMPLE, conversation
from tests.overlap import Reader, conversation_of_several
from tests.sessions import Client, blocks, finalized, heard, run

LATENCIES = [0.5, 1.0, 2.0, 5.0]
ALGORITHMS = ["agglomerative", "hdbscan", "spectral"]
ENROLLED = ("Clara", "Robin")
PLAIN = ["identification.normalise=false", "identification.threshold=0.5", "identification.margin=0.1"]
RECIPES = sorted(recipes())


class Embedder:
    """The pipeline's `embed`, with the windows of whatever comes together shuffled, and none computed twice."""

    def __init__(self, diarization: SpeakerDiarization) -> None:
        self._embed = diarization.embed
        self._known: dict[tuple[int, bytes], EmbeddingWindow] = {}
        self._random = np.random.default_rng(0)

    def __call__(self, windows: Sequence[SpeechWindow]) -> list[EmbeddingWindow]:
        new = {self._key(window): window for window in windows}
        for key in self._known.keys() & new.keys():
            del new[key]
        order = [list(new)[i] for i in self._random.permutation(len(new))]
        self._known |= zip(order, self._embed([new[key] for key in order]), strict=True)
        return [
            replace(
                self._known[self._key(window)],
                end=window.end,
                speech=window.speech,
                group=window.group,
                provisional=window.provisional,
            )
            for window in windows
        ]

    @staticmethod
    def _key(window: SpeechWindow) -> tuple[int, bytes]:
        return window.start, window.samples.tobytes()


@pytest.fixture(scope="module")
def diarization() -> SpeakerDiarization:
    """Two of the four people of the sample are enrolled."""
    diarization = SpeakerDiarization(load_config(settings=PLAIN))
    windows = diarization.embedded(SAMPLE).channels[0]
    turns = [turn for turn in read_rttm(SAMPLE.with_suffix(".rttm"))["conversation"] if turn.end > 40 * SAMPLE_RATE]
    voices = [
        np.mean([w.embedding for w in windows for turn in own if turn.start <= w.start and w.end <= turn.end], axis=0)
        for own in ([turn for turn in turns if turn.speaker == name] for name in ENROLLED)
    ]
    references = np.stack([voice / np.linalg.norm(voice) for voice in voices])
    diarization.people = People(ENROLLED, references, np.arange(2), diarization.encoder.fingerprint)
    return diarization


@pytest.fixture(scope="module")
def embed(diarization: SpeakerDiarization) -> Embedder:
    return Embedder(diarization)


@pytest.fixture(scope="module")
def sample() -> Samples:
    return read(SAMPLE)[: 40 * SAMPLE_RATE + 123]


def changed(diarization: SpeakerDiarization, *changes: str, recipe: str | None = None) -> SpeakerDiarization:
    """The same with other settings."""
    own = copy(diarization)
    own.config = load_config(recipe, [*PLAIN, *changes])
    return own


def random_cuts(audio: Samples, seed: int, count: int = 20) -> list[int]:
    return sorted(np.random.default_rng(seed).integers(0, len(audio), count).tolist())


def through(embed: Embedder, items: Sequence[SpeechWindow | Clock]) -> list[EmbeddingWindow | Clock | Merge]:
    """The same, embedded."""
    embedded = iter(embed([item for item in items if isinstance(item, SpeechWindow)]))
    return [item if isinstance(item, Clock) else next(embedded) for item in items]


def live(
    diarization: SpeakerDiarization,
    embed: Embedder,
    chunks: Sequence[AudioChunk],
    at: int | None = None,
    folder: Path | None = None,
) -> list[TurnUpdate]:
    """What a live stream says.

    at: before this chunk everything is put into new stages, and the embeddings come from the file, in which there are
        some more by then.
    """
    with ExitStack() as files:
        file = files.enter_context(closing(EmbeddingFile(folder and folder / "embeddings")))
        front, back = diarization.live_front(), diarization.live_back(file)
        updates: list[TurnUpdate] = []
        for i, chunk in enumerate(chunks):
            if i == at and folder is not None:
                saved, count = (front.save(), back.save()), len(file)
                laws.pushed(back, through(embed, front.push(chunk)))
                file = files.enter_context(closing(EmbeddingFile(folder / "embeddings")))
                file.truncate(count)
                front, back = diarization.live_front(), diarization.live_back(file)
                front.restore(saved[0])
                back.restore(saved[1])
            updates += laws.pushed(back, through(embed, front.push(chunk)))
        return updates + laws.run(back, through(embed, front.flush()))


def check(updates: Sequence[TurnUpdate], offline: Sequence[TurnUpdate]) -> None:
    """The same turns, confidence, distances and people, and one label of the one for each label of the other."""
    turns = newest(updates)
    assert all(turn.final for turn in turns)
    found, expected = (
        [
            (turn.start, turn.end, turn.confidence, turn.distance, turn.second and turn.second[1], turn.identity)
            for turn in one
        ]
        for one in (turns, newest(offline))
    )
    assert found == expected
    names = {(one.speaker, other.speaker) for one, other in zip(turns, newest(offline), strict=True)}
    assert len({one for one, _ in names}) == len({other for _, other in names}) == len(names)
    seconds = {
        (one.second[0], other.second[0])
        for one, other in zip(turns, newest(offline), strict=True)
        if one.second and other.second
    }
    assert seconds <= names


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_conversation_ends_as_offline(
    diarization: SpeakerDiarization, embed: Embedder, sample: Samples, algorithm: str
) -> None:
    offline = changed(diarization, f"clustering.name={algorithm}").diarize(sample).updates
    assert len({update.speaker for update in offline}) == 4
    assert {update.name for update in offline if update.name != update.speaker} == set(ENROLLED)
    said = []
    for seed, latency in enumerate(LATENCIES):
        own = changed(diarization, f"clustering.name={algorithm}", f"live.latency={latency}")
        said.append(live(own, embed, laws.chunks(sample, random_cuts(sample, seed))))
        check(said[-1], offline)
    assert len(set(map(len, said))) == len(said), "what is shown on the way differs"


def test_real_conversations_end_as_offline(diarization: SpeakerDiarization, embed: Embedder, speech: Path) -> None:
    """All nine, with the windows of all in common batches."""
    recordings = [read(path) for path in sorted((speech / "conversations").glob("*.flac"))]
    assert len(recordings) == 9
    configs = {name: changed(diarization, f"clustering.name={name}").config for name in ALGORITHMS}
    expected = [
        {name: recluster(whole, config, diarization.people).updates for name, config in configs.items()}
        for audio in recordings
        for windows in [tuple(drive(diarization.front(), embed, [AudioChunk(0, audio)], 16))]
        for whole in [EmbeddedRecording("", len(audio), diarization.encoder.fingerprint, (windows,))]
    ]
    assert all(len(updates) > 0 for answers in expected for updates in answers.values())
    for latency in LATENCIES:
        names = ALGORITHMS if latency == 2 else ["agglomerative"]
        runs = {name: changed(diarization, f"clustering.name={name}", f"live.latency={latency}") for name in names}
        heard = [
            laws.run(runs["agglomerative"].live_front(), laws.chunks(audio, random_cuts(audio, seed)))
            for seed, audio in enumerate(recordings)
        ]
        embed([item for items in heard for item in items if isinstance(item, SpeechWindow)])
        for items, answers in zip(heard, expected, strict=True):
            for name, own in runs.items():
                with closing(EmbeddingFile()) as file:
                    check(laws.run(own.live_back(file), through(embed, items)), answers[name])


@given(
    latency=st.sampled_from(LATENCIES),
    algorithm=st.sampled_from(ALGORITHMS),
    cuts=laws.cuts(32 * SAMPLE_RATE, most=40),
    data=st.data(),
)
@settings(deadline=None, max_examples=6)
def test_neither_cuts_nor_a_restart_change_anything_that_is_shown(
    diarization: SpeakerDiarization,
    embed: Embedder,
    sample: Samples,
    tmp_path_factory: pytest.TempPathFactory,
    latency: float,
    algorithm: str,
    cuts: list[int],
    data: st.DataObject,
) -> None:
    # of which half a minute is too much
    own = changed(diarization, f"live.latency={latency}", f"clustering.name={algorithm}", "online.buffer=50")
    audio = sample[: 32 * SAMPLE_RATE]
    chunks = laws.chunks(audio, cuts)
    at = data.draw(st.integers(0, len(chunks) - 1))
    said = live(own, embed, chunks, at, tmp_path_factory.mktemp("stream"))
    assert laws.plain(said) == laws.plain(live(own, embed, [AudioChunk(0, audio)]))


# With a segmentation network: voices at the same time.


def reading(diarization: SpeakerDiarization, *changes: str) -> SpeakerDiarization:
    """The same with a network that knows who talks; at the end of what it hears it is often mistaken."""
    own = changed(diarization, *changes)
    own.segmenter = Reader(hasty=20)
    return own


@pytest.fixture(scope="module")
def embed_voices(diarization: SpeakerDiarization) -> Embedder:
    """What is embedded of a voice is of another length than a window of speech."""
    return Embedder(reading(diarization))


@pytest.fixture(scope="module")
def several() -> Samples:
    return conversation_of_several(40)[: 40 * SAMPLE_RATE - 123]


def at_once(updates: Sequence[TurnUpdate]) -> float:
    """Seconds in which two talk."""
    turns = newest(updates)
    pairs = [(a, b) for i, a in enumerate(turns) for b in turns[i + 1 :]]
    return sum(max(0, min(a.end, b.end) - max(a.start, b.start)) for a, b in pairs) / SAMPLE_RATE


@pytest.mark.parametrize(
    ("algorithm", "exclusive", "latencies"),
    [("bayesian", False, LATENCIES), ("bayesian", True, [0.5]), ("spectral", False, [2.0])],
)
def test_voices_at_the_same_time_end_as_offline(
    diarization: SpeakerDiarization,
    embed_voices: Embedder,
    several: Samples,
    algorithm: str,
    exclusive: bool,
    latencies: list[float],
) -> None:
    changes = [f"clustering.name={algorithm}", f"turns.exclusive={str(exclusive).lower()}"]
    whole = tuple(drive(reading(diarization).front(), embed_voices, [AudioChunk(0, several)], 16))
    recording = EmbeddedRecording("", len(several), diarization.encoder.fingerprint, (whole,))
    offline = recluster(recording, changed(diarization, *changes).config, diarization.people).updates
    assert len({update.speaker for update in offline}) == 4
    assert at_once(offline) == 0 if exclusive else at_once(offline) > 1
    for seed, latency in enumerate(latencies):
        own = reading(diarization, *changes, f"live.latency={latency}", "online.buffer=50")
        items = laws.run(own.live_front(), [AudioChunk(0, several)])
        embed_voices([item for item in items if isinstance(item, SpeechWindow)])  # at once, which is quick
        said = live(own, embed_voices, laws.chunks(several, random_cuts(several, seed)))
        check(said, offline)
        assert exclusive or latency >= 2 or any(update.speaker is None for update in said), (
            "what was mistaken is withdrawn"
        )


@given(latency=st.sampled_from(LATENCIES), cuts=laws.cuts(32 * SAMPLE_RATE, most=40), data=st.data())
@settings(deadline=None, max_examples=5)
def test_neither_cuts_nor_a_restart_change_anything_that_is_shown_of_voices_at_the_same_time(
    diarization: SpeakerDiarization,
    embed_voices: Embedder,
    several: Samples,
    tmp_path_factory: pytest.TempPathFactory,
    latency: float,
    cuts: list[int],
    data: st.DataObject,
) -> None:
    own = reading(diarization, f"live.latency={latency}", "online.buffer=50")
    audio = several[: 32 * SAMPLE_RATE]
    chunks = laws.chunks(audio, cuts)
    at = data.draw(st.integers(0, len(chunks) - 1))
    said = live(own, embed_voices, chunks, at, tmp_path_factory.mktemp("stream"))
    assert laws.plain(said) == laws.plain(live(own, embed_voices, [AudioChunk(0, audio)]))


def test_a_session_of_several_goes_on_from_its_journal(
    diarization: SpeakerDiarization, embed_voices: Embedder, several: Samples, tmp_path: Path
) -> None:
    """It wants the last ten seconds again, since no audio is kept."""
    rustle = np.random.default_rng(0).normal(0, 2e-3, 6 * SAMPLE_RATE).astype(np.float32)  # silence would be too faint
    audio = np.concatenate((several[: 20 * SAMPLE_RATE], rustle, several[-SAMPLE_RATE:]))
    own = reading(diarization, "live.latency=1")
    own.embed = embed_voices  # type: ignore[method-assign]  # the same, that computes nothing twice
    start, journal = Start(encoding="f32le", uri="several"), Journal(tmp_path)
    data = audio.tobytes()
    entry = journal.create("Several", start, own)
    session = entry.session(own)
    client = Client("several")
    for until in (9, 17, 24):
        for piece in blocks(data[4 * session.position : 4 * until * SAMPLE_RATE], [7_000, 50_000], 4):
            client.take(heard(own, session, piece))
        saved = session.save()
        entry.checkpoint(saved)
        assert until - 10.2 < saved.position / SAMPLE_RATE <= max(0, until - 9.9)
        assert data[4 * saved.position :][:1600] not in dumps(saved)
        client.take(heard(own, session, data[4 * session.position :][: 4 * SAMPLE_RATE]))  # which is lost
        entry.close()
        entry = journal.open("Several")
        session = entry.session(own)
        client.take([session.ready(message_bytes=1, idle_s=1, resumable=True), *session.snapshot()])
        assert session.position == saved.position
    client.take(run(own, session, [data[4 * session.position :]]))
    entry.close()
    undisturbed = Session("Several", start, own, EmbeddingFile())
    expected = Client("several")
    stream, cut = own.live(), 25 * SAMPLE_RATE
    expected.take(heard(own, undisturbed, data[: 4 * cut]))
    shown = newest(stream.push(AudioChunk(0, audio[:cut])))
    assert times(expected.current) == times(shown), "and what is mistaken is withdrawn"
    expected.take(finalized(own, undisturbed))
    assert max(turn.end for turn in expected.current) == cut, "as far as it has been heard, mistakes and all"
    expected.take(run(own, undisturbed, [data[4 * cut :]]))
    undisturbed.close()
    assert client.rttm == expected.rttm
    assert times(client.current) == times(newest(own.diarize(audio).updates))


def times(turns: Sequence[Turn] | Sequence[TurnUpdate]) -> list[tuple[int, int]]:
    """In milliseconds, as clients are told them."""
    return sorted((milliseconds(turn.start), milliseconds(turn.end)) for turn in turns)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_ends_as_offline(diarization: SpeakerDiarization, embed: Embedder, recipe: str) -> None:
    audio = conversation(20)
    own = changed(diarization, "live.latency=1", recipe=recipe)
    if own.config.segmentation.model:
        own.segmenter, audio = Reader(), conversation_of_several(20)
    if own.segmenter is not None or own.config.embedding != diarization.config.embedding:
        embed = Embedder(own)
    check(live(own, embed, laws.chunks(audio, random_cuts(audio, 0))), own.diarize(audio).updates)


def test_the_other_detector_ends_as_offline(diarization: SpeakerDiarization, embed: Embedder) -> None:
    audio = conversation(10)
    own = changed(diarization, "vad.name=webrtc")
    check(live(own, embed, laws.chunks(audio, random_cuts(audio, 0))), own.diarize(audio).updates)


def test_a_live_stream_pushed_piece_by_piece(diarization: SpeakerDiarization, embed: Embedder) -> None:
    """Each window embedded when it comes, with hardly ever another."""
    audio = conversation(9)
    own = changed(diarization, "live.latency=0.5")
    expected = live(own, embed, [AudioChunk(0, audio)])
    stream = own.live()
    said = [update for chunk in laws.chunks(audio, list(range(900, len(audio), 900))) for update in stream.push(chunk)]
    assert len(said) > 10
    said += stream.flush()
    assert laws.plain(said) == laws.plain(expected)
    check(said, own.diarize(audio).updates)


def test_two_are_made_one_in_a_live_stream(diarization: SpeakerDiarization) -> None:
    audio = conversation(16)
    with closing(EmbeddingFile()) as file:
        stream = diarization.live(file)
        shown = stream.push(AudioChunk(0, audio))
        speakers = sorted({str(update.speaker) for update in newest(shown)})
        assert len(speakers) > 1
        one, into = (int(name.removeprefix("SPEAKER_")) for name in speakers[:2])
        merged = stream.merge(one, into)
        assert {update.speaker for update in merged} == {speakers[1]}
        end = stream.flush()
    assert {turn.speaker for turn in newest([*shown, *merged, *end])} == set(speakers[1:])


@pytest.mark.parametrize("samples", [0, 1, 3 * SAMPLE_RATE])
def test_no_speech_says_nothing(diarization: SpeakerDiarization, samples: int) -> None:
    stream = diarization.live()
    assert stream.push(AudioChunk(0, np.zeros(samples, np.float32))) + stream.flush() == []
