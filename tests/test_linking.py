"""The same person across recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diarize.clustering.agglomerative import by_first_appearance
from diarize.embedded import EmbeddedRecording
from diarize.formats import Diarization
from diarize.linking import LinkingConfig, link, link_voices, voices_of
from diarize.metrics import pair_speakers
from diarize.pipeline import PipelineConfig, SpeakerDiarization, recluster
from diarize.rttm import read_rttm, turns_from
from diarize.types import EmbeddingWindow, Identity, TurnUpdate
from tests.command import SAMPLE, conversation

STEP = 16_000
ANNA, BEN, CLEO = np.eye(3, dtype=np.float32)


def heard(uri: str, *channels: Sequence[tuple[str, NDArray[np.float32]]]) -> tuple[EmbeddedRecording, Diarization]:
    """A recording, and the answer to it, in which each (label, voice) of a channel talks for one second, in turn."""
    recorded: list[tuple[EmbeddingWindow, ...]] = []
    updates: list[TurnUpdate] = []
    on: dict[str, int] = {}
    for number, channel in enumerate(channels, start=1):
        windows = []
        for second, (label, voice) in enumerate(channel):
            start, end = second * STEP, (second + 1) * STEP
            windows.append(EmbeddingWindow(start, end, ((start, end),), second, voice, 1.0))
            updates.append(TurnUpdate(len(updates), start, end, label, None, 1.0, final=True))
            on[label] = number
        recorded.append(tuple(windows))
    answer = Diarization(uri, 10 * STEP, tuple(updates), {}, on if len(channels) > 1 else {})
    return EmbeddedRecording(uri, 10 * STEP, "a model", tuple(recorded)), answer


def linked(*heard: tuple[EmbeddedRecording, Diarization], threshold: float = 0.32) -> list[dict[str, str]]:
    return link([voices_of(recording, answer) for recording, answer in heard], LinkingConfig(threshold))


def test_names_given_by_hand_hold_in_all_recordings() -> None:
    assert linked(
        heard("monday", [("SPEAKER_00", ANNA), ("Ben", BEN)]),
        heard("tuesday", [("Anna", CLEO), ("SPEAKER_01", ANNA), ("SPEAKER_02", BEN)]),
        heard("wednesday", [("Anna", ANNA), ("Cleo", CLEO)]),
        threshold=0.2,
    ) == [
        # names are surer than voices: Anna is who was called so, and her mean voice is far from both that she has
        {"SPEAKER_00": "PERSON_000", "Ben": "Ben"},
        {"Anna": "Anna", "SPEAKER_01": "PERSON_000", "SPEAKER_02": "Ben"},
        {"Anna": "Anna", "Cleo": "Cleo"},
    ]


def recognised(
    heard: tuple[EmbeddedRecording, Diarization], **names: str | None
) -> tuple[EmbeddedRecording, Diarization]:
    """The same where enrolled people were sought: who is who, by label; None for who stayed unknown."""
    recording, answer = heard
    updates = tuple(
        replace(update, identity=Identity(names[update.speaker], 4.0, None, "")) if update.speaker in names else update
        for update in answer.updates
    )
    return recording, replace(answer, updates=updates)


def test_who_is_enrolled_is_one_person_by_name_and_nobody_else_is() -> None:
    monday = recognised(heard("monday", [("SPEAKER_00", ANNA), ("SPEAKER_01", BEN)]), SPEAKER_00="Anna")
    tuesday = recognised(
        heard("tuesday", [("SPEAKER_00", ANNA), ("SPEAKER_01", CLEO)]), SPEAKER_00=None, SPEAKER_01="Anna"
    )
    wednesday = recognised(heard("wednesday", [("SPEAKER_00", ANNA), ("SPEAKER_01", BEN)]), SPEAKER_00="Ben")
    thursday = heard("thursday", [("SPEAKER_00", ANNA), ("Anna", BEN)])  # by hand
    assert linked(monday, tuesday, wednesday, thursday) == [
        # whatever their voices
        {"SPEAKER_00": "Anna", "SPEAKER_01": "PERSON_000"},
        {"SPEAKER_00": "PERSON_001", "SPEAKER_01": "Anna"},
        {"SPEAKER_00": "Ben", "SPEAKER_01": "PERSON_000"},
        {"SPEAKER_00": "PERSON_001", "Anna": "Anna"},
    ]
    everybody = recognised(heard("all", [("SPEAKER_00", BEN)]), SPEAKER_00="Ben")
    assert linked(everybody) == [{"SPEAKER_00": "Ben"}]
    # nobody was asked, or nobody was recognised: as ever
    asked = recognised(heard("asked", [("SPEAKER_00", ANNA)]), SPEAKER_00=None)
    assert linked(asked, heard("not", [("SPEAKER_03", ANNA)])) == [
        {"SPEAKER_00": "PERSON_000"},
        {"SPEAKER_03": "PERSON_000"},
    ]


def test_a_person_has_one_label_in_all_recordings() -> None:
    assert linked(
        heard("monday", [("SPEAKER_00", ANNA), ("SPEAKER_01", BEN)]),
        heard("tuesday", [("SPEAKER_00", CLEO), ("SPEAKER_01", ANNA)]),
        heard("wednesday", [("SPEAKER_00", BEN), ("SPEAKER_01", CLEO), ("SPEAKER_02", ANNA)]),
    ) == [
        {"SPEAKER_00": "PERSON_000", "SPEAKER_01": "PERSON_001"},
        {"SPEAKER_00": "PERSON_002", "SPEAKER_01": "PERSON_000"},
        {"SPEAKER_00": "PERSON_001", "SPEAKER_01": "PERSON_002", "SPEAKER_02": "PERSON_000"},
    ]


def test_two_speakers_of_a_recording_are_two_persons_whatever_their_voices() -> None:
    twins = heard("twins", [("SPEAKER_00", ANNA), ("SPEAKER_01", ANNA)])
    assert linked(twins, threshold=2) == [{"SPEAKER_00": "PERSON_000", "SPEAKER_01": "PERSON_001"}]


def test_so_are_those_of_different_channels() -> None:
    call = heard("call", [("SPEAKER_00", ANNA)], [("SPEAKER_01", ANNA), ("SPEAKER_02", BEN)])
    later = heard("later", [("SPEAKER_00", BEN)])
    labels, (again) = linked(call, later)
    assert len(set(labels.values())) == 3
    assert again == {"SPEAKER_00": labels["SPEAKER_02"]}


def test_a_voice_is_that_of_the_windows_in_which_its_speaker_talks_most() -> None:
    recording, answer = heard("cut", [("SPEAKER_00", ANNA), ("SPEAKER_00", ANNA), ("SPEAKER_01", BEN)])
    turns = [(0, 1.4, "SPEAKER_00"), (1.4, 1.6, "SPEAKER_01"), (1.6, 2.0, "SPEAKER_00"), (2.0, 2.6, "SPEAKER_01")]
    updates = [
        TurnUpdate(number, round(start * STEP), round(end * STEP), label, None, 1.0, final=True)
        for number, (start, end, label) in enumerate(turns)
    ]
    cut = recording, replace(answer, updates=tuple(updates))
    assert linked(cut, heard("ben", [("SPEAKER_00", BEN)]), heard("anna", [("SPEAKER_00", ANNA)]), threshold=0.01) == [
        {"SPEAKER_00": "PERSON_000", "SPEAKER_01": "PERSON_001"},
        {"SPEAKER_00": "PERSON_001"},
        {"SPEAKER_00": "PERSON_000"},
    ]


def test_who_has_no_voice_is_nobody_else() -> None:
    def added(uri: str) -> tuple[EmbeddedRecording, Diarization]:
        """By hand, where nothing was heard."""
        recording, answer = heard(uri, [("SPEAKER_00", ANNA)])
        mute = TurnUpdate(9, 8 * STEP, 9 * STEP, "SPEAKER_77", None, 1.0, final=True)
        return recording, replace(answer, updates=(*answer.updates, mute))

    silence = heard("silence", [])
    assert linked(silence) == [{}]
    assert linked() == []
    assert linked(added("a"), silence, added("b"), threshold=2) == [
        {"SPEAKER_00": "PERSON_000", "SPEAKER_77": "PERSON_001"},
        {},
        {"SPEAKER_00": "PERSON_000", "SPEAKER_77": "PERSON_002"},
    ]
    recording, answer = added("c")
    assert linked((replace(recording, channels=((),)), answer)) == [
        {"SPEAKER_00": "PERSON_000", "SPEAKER_77": "PERSON_001"}
    ]


def test_what_cannot_be_linked() -> None:
    (one, answer), (other, _) = heard("one", [("A", ANNA)]), heard("other", [("A", ANNA)])
    with pytest.raises(ValueError, match="one was made with a model, other with another; make both with the same"):
        linked((one, answer), (replace(other, model="another"), replace(answer, uri="other")))
    with pytest.raises(ValueError, match="the turns are those of one, and the voices those of other"):
        voices_of(other, answer)
    with pytest.raises(ValueError, match=r"linking.threshold is 2.5: a cosine distance lies between 0 and 2"):
        LinkingConfig(2.5)


@st.composite
def nodes(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Voices around a few persons, and which recording each is from."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, spread = draw(st.integers(1, 24)), draw(st.floats(0.1, 1.5))
    voices = rng.standard_normal((6, 8))[rng.integers(6, size=n)] + spread * rng.standard_normal((n, 8))
    recordings = np.sort(rng.integers(draw(st.integers(1, 12)), size=n))
    return (voices / np.linalg.norm(voices, axis=1, keepdims=True)).astype(np.float32), recordings


def by_the_book(voices: NDArray[np.float32], recordings: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
    """The same, looking at all pairs of persons anew for each merge."""
    persons = [[i] for i in range(len(voices))]

    def apart(a: list[int], b: list[int]) -> float:
        one, other = voices[a].astype(np.float64).sum(axis=0), voices[b].astype(np.float64).sum(axis=0)
        return float(1 - one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    while True:
        pairs = [
            (apart(a, b), i, j)
            for j, b in enumerate(persons)
            for i, a in enumerate(persons[:j])
            if not set(recordings[a]) & set(recordings[b])
        ]
        distance, i, j = min(pairs, default=(9.0, 0, 0))
        if distance > threshold:
            break
        persons[i] += persons.pop(j)
    labels = np.zeros(len(voices), np.int64)
    for number, members in enumerate(persons):
        labels[members] = number
    return by_first_appearance(labels)


@given(nodes(), st.floats(0, 2))
@settings(deadline=None, max_examples=60)
def test_the_two_nearest_become_one_again_and_again(
    found: tuple[NDArray[np.float32], NDArray[np.int64]], threshold: float
) -> None:
    voices, recordings = found
    persons = link_voices(voices, recordings, threshold)
    assert persons.tolist() == by_the_book(voices, recordings, threshold).tolist()
    pairs = set(zip(persons.tolist(), recordings.tolist(), strict=True))
    assert len(pairs) == len(voices)  # no person twice in a recording


@given(nodes(), st.floats(0, 2), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_the_order_of_the_recordings_only_numbers(
    found: tuple[NDArray[np.float32], NDArray[np.int64]], threshold: float, random: object
) -> None:
    voices, recordings = found
    order = np.arange(len(voices))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    persons = link_voices(voices, recordings, threshold)
    shuffled = link_voices(voices[order], recordings[order], threshold)
    assert by_first_appearance(persons[order]).tolist() == shuffled.tolist()


def test_two_thousand_voices_are_nothing() -> None:
    rng = np.random.default_rng(0)
    people = rng.standard_normal((200, 192))
    recordings = np.repeat(np.arange(500), 4)
    who = np.concatenate([rng.choice(200, 4, replace=False) for _ in range(500)])
    voices = people[who] + 0.4 * rng.standard_normal((2000, 192))
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    assert link_voices(voices.astype(np.float32), recordings, 0.32).tolist() == by_first_appearance(who).tolist()


def test_the_parts_of_a_real_conversation_have_the_same_people() -> None:
    samples, (reference,) = conversation(60), read_rttm(SAMPLE.with_suffix(".rttm")).values()
    middle = len(samples) // 2
    diarization = SpeakerDiarization(PipelineConfig())
    parts = [diarization.embedded(part) for part in (samples[:middle], samples[middle:])]
    answers = [recluster(part, diarization.config) for part in parts]
    first, second = link([voices_of(part, answer) for part, answer in zip(parts, answers, strict=True)])
    early = [turn for turn in reference if turn.end <= middle]
    late = [
        replace(turn, start=turn.start - middle, end=turn.end - middle) for turn in reference if turn.start >= middle
    ]
    who = pair_speakers(early, turns_from(answers[0].updates))
    later = pair_speakers(late, turns_from(answers[1].updates))
    assert sorted(who.values()) == sorted(later.values()) == ["Angus", "Clara", "Karl", "Robin"]
    assert {first[label]: name for label, name in who.items()} == {second[label]: name for label, name in later.items()}
