"""Speakers under the names of enrolled people: offline, live and by the server; strangers keep their labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from copy import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.clustering.memory import EmbeddingFile
from diarize.clustering.naming import Names, talk
from diarize.clustering.offline import ClusteringConfig
from diarize.clustering.online import OnlineClustering, OnlineConfig
from diarize.embedded import EmbeddedRecording, write_embedded
from diarize.formats import FORMATS, Diarization
from diarize.intervals import length, union
from diarize.live import LiveConfig
from diarize.pipeline import SpeakerDiarization, load_config, recluster
from diarize.profiles.identifier import without
from diarize.profiles.people import People
from diarize.profiles.person import Reference
from diarize.profiles.store import ProfileStore
from diarize.revisions import RevisedTurns
from diarize.rttm import Turn, newest, read_rttm, turns_from
from diarize.server.journal import Journal
from diarize.server.messages import Merge, Message, ProtocolError, Rename, Start
from diarize.server.recovery import recover
from diarize.server.saved import dumps, loads
from diarize.server.session import Session
from diarize.turns import TurnsConfig
from diarize.types import AudioChunk, Clock, EmbeddingWindow, Identity, Named, TurnUpdate
from diarize.types import Merge as MergeSpeakers
from tests import laws
from tests.command import SAMPLE, conversation, here, write_clip
from tests.sessions import RATE, Client, blocks, ended, heard, remembering, run, speech

LENGTH = 24
"""Seconds of the sample in which people are to be found; they are enrolled from what comes after."""

PLAIN = ["identification.normalise=false", "identification.threshold=0.5", "identification.margin=0.1"]
"""Cosines: what is tested is who is asked and told, not how voices are compared."""

REFERENCE = read_rttm(SAMPLE.with_suffix(".rttm"))["conversation"]
Enrol = Callable[..., People]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pipeline() -> SpeakerDiarization:
    """Nobody is enrolled."""
    return remembering(load_config(settings=PLAIN))


@pytest.fixture(scope="module")
def late(pipeline: SpeakerDiarization) -> tuple[EmbeddingWindow, ...]:
    """The windows of the sample after `LENGTH`."""
    windows = pipeline.embedded(SAMPLE).channels[0]
    return tuple(window for window in windows if window.start >= (LENGTH + 1) * RATE)


@pytest.fixture(scope="module")
def enrol(pipeline: SpeakerDiarization, late: Sequence[EmbeddingWindow]) -> Enrol:
    """People under the names of the reference, or under others, by their voices late in the sample."""

    def enrolled(*names: str, **others: str) -> People:
        who = {**{name: name for name in names}, **others}
        voices = [
            np.stack([window.embedding for window in late if alone(window, voice)]).mean(axis=0)
            for voice in who.values()
        ]
        references = np.stack([voice / np.linalg.norm(voice) for voice in voices])
        return People(tuple(who), references, np.arange(len(who)), pipeline.encoder.fingerprint)

    return enrolled


def alone(window: EmbeddingWindow, name: str) -> bool:
    """Whether nobody else talks in it."""
    return all(turn.speaker == name for turn in REFERENCE if turn.start < window.end and window.start < turn.end)


@pytest.fixture(scope="module")
def early(pipeline: SpeakerDiarization) -> EmbeddedRecording:
    """Clara, Robin, Angus, Karl, and Clara again."""
    return pipeline.embedded(conversation(LENGTH))


def knowing(pipeline: SpeakerDiarization, people: People | None) -> SpeakerDiarization:
    own = copy(pipeline)
    own.people = people
    return own


def called(result: Diarization) -> list[str]:
    """The names by first turn."""
    return list(dict.fromkeys(turn.speaker for turn in turns_from(result.updates)))


# Offline.


def test_who_is_enrolled_is_named_and_strangers_are_not(
    pipeline: SpeakerDiarization, enrol: Enrol, early: EmbeddedRecording
) -> None:
    nameless = recluster(early, pipeline.config)
    assert called(nameless) == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02", "SPEAKER_03"]
    assert {update.identity for update in nameless.updates} == {None}
    result = recluster(early, pipeline.config, enrol("Angus", "Clara"))
    assert called(result) == ["Clara", "SPEAKER_01", "Angus", "SPEAKER_03"]
    assert [replace(update, identity=None) for update in result.updates] == list(nameless.updates)

    content = json.loads(FORMATS["json"].write(result))
    clara, robin, *_ = content["speakers"]
    assert (clara["speaker"], clara["identity"]) == ("SPEAKER_00", "Clara")
    assert clara["decision"]["score"] > 0.8
    assert clara["decision"]["runner_up"]["name"] == "Angus"
    assert (robin["speaker"], robin["identity"]) == ("SPEAKER_01", None)
    assert robin["decision"]["score"] < 0.5
    assert "below" in robin["decision"]["reason"]
    assert [turn["identity"] and turn["identity"]["name"] for turn in content["turns"]] == [
        "Clara",
        None,
        "Angus",
        None,
        "Clara",
    ]


def test_the_pipeline_names_people_too(pipeline: SpeakerDiarization, enrol: Enrol, early: EmbeddedRecording) -> None:
    people = enrol("Robin")
    result = knowing(pipeline, people).diarize(conversation(LENGTH))
    assert result.updates == recluster(early, pipeline.config, people).updates
    assert "Robin" in called(result)


def test_who_was_heard_too_shortly_is_unknown(
    pipeline: SpeakerDiarization, enrol: Enrol, early: EmbeddedRecording
) -> None:
    config = load_config(settings=[*PLAIN, "identification.speech=7"])
    result = recluster(early, config, enrol("Clara", "Robin", "Angus", "Karl"))
    assert called(result) == ["Clara", "SPEAKER_01", "SPEAKER_02", "SPEAKER_03"]  # Clara alone talks twice
    (karl,) = {update.identity for update in result.updates if update.speaker == "SPEAKER_03"}
    assert karl is not None
    assert "s of speech are too few" in karl.reason


def test_people_of_another_model_are_refused(
    pipeline: SpeakerDiarization, enrol: Enrol, early: EmbeddedRecording
) -> None:
    others = replace(enrol("Clara"), fingerprint="another-model")
    for attempt in (
        lambda: SpeakerDiarization(pipeline.config, others),
        lambda: recluster(early, pipeline.config, others),
        lambda: knowing(pipeline, others).live(),
    ):
        with pytest.raises(ValueError, match=r"another-model.*re-enroll") as refused:
            attempt()
        assert early.model in str(refused.value)


def test_a_name_given_by_hand_comes_first_and_is_nobody_elses(
    pipeline: SpeakerDiarization, enrol: Enrol, early: EmbeddedRecording
) -> None:
    people = enrol("Angus", "Clara", "Robin")

    def corrected(name: str) -> list[str]:
        """What is said when a part of Clara's first turn is `name`'s, said by hand."""
        by_hand = replace(early, corrections=(Turn(RATE, 4 * RATE, name),))
        return called(recluster(by_hand, pipeline.config, people))

    assert corrected("Zoe") == ["Zoe", "Robin", "Angus", "SPEAKER_03"]
    assert corrected("Robin") == ["Robin", "SPEAKER_01", "Angus", "SPEAKER_03"]
    assert corrected("Clara") == ["Clara", "Robin", "Angus", "SPEAKER_03"]


def test_nobody_is_on_two_channels(pipeline: SpeakerDiarization, enrol: Enrol, early: EmbeddedRecording) -> None:
    (windows,) = early.channels
    # the same in every window: what differs from one to the next, the mean of a voice would take away again
    noise = np.random.default_rng(0).standard_normal(192).astype(np.float32) / 25
    blurred = tuple(
        replace(window, embedding=(voice := window.embedding + noise) / np.linalg.norm(voice)) for window in windows
    )
    both = replace(early, channels=(blurred, windows))
    result = recluster(both, pipeline.config, enrol("Clara", "Robin"))
    named = {update.name: update.speaker for update in result.updates if update.name != update.speaker}
    assert {name: result.channels[speaker or ""] for name, speaker in named.items()} == {"Clara": 2, "Robin": 2}
    first = next(update.identity for update in result.updates if result.channels[update.speaker or ""] == 1)
    assert first is not None
    assert first.reason.endswith("Robin: who is nearer on another channel")
    lines = [line.split() for line in FORMATS["rttm"].write(result).splitlines()]
    assert {fields[2] for fields in lines if fields[7] in named} == {"2"}


# What a decision stands on.


@given(
    st.lists(st.tuples(st.integers(1, 5), st.lists(st.integers(1, 9), min_size=1, max_size=4)), max_size=12).map(
        lambda steps: [
            (start, [int(edge) for edge in start + np.cumsum(lengths)])
            for start, lengths in zip(
                np.cumsum([step for step, _ in steps]).tolist(), [own for _, own in steps], strict=True
            )
        ]
    )
)
@settings(deadline=None)
def test_speech_in_windows_that_overlap_counts_once(windows: list[tuple[int, list[int]]]) -> None:
    """Where the audio is one: two windows that have a moment in common say the same of it."""
    spoken = union((edges[i - 1], edges[i]) for _, edges in windows for i in range(1, len(edges), 2))
    made = [
        EmbeddingWindow(
            start,
            edges[-1],
            tuple((max(a, start), min(b, edges[-1])) for a, b in spoken if a < edges[-1] and b > start),
            number,
            np.zeros(2, np.float32),
            1.0,
        )
        for number, (start, edges) in enumerate(windows)
    ]
    covered = [interval for window in made for interval in window.speech]
    shares = talk(made)
    assert (shares >= 0).all()
    if all(one.end <= other.end for one, other in pairwise(made)):
        assert shares.sum() == length(union(covered))


def test_the_people_without_some(enrol: Enrol) -> None:
    people = enrol("Angus", "Clara", "Robin")
    twice = People(
        people.names, np.repeat(people.references, 2, axis=0), np.repeat(people.owner, 2), people.fingerprint
    )
    left = without(twice, {"Clara", "Zoe"})
    assert left.names == ("Angus", "Robin")
    assert left.owner.tolist() == [0, 0, 1, 1]
    assert np.array_equal(left.references, twice.references[[0, 1, 4, 5]])
    assert without(twice, people.names).names == ()


def found(name: str | None) -> Identity:
    return Identity(name, 0.7, None, "")


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ([{0: "Ana"}, {0: "Ana"}, {0: "Ana"}], [{}, {0: "Ana"}, {}]),
        ([{0: "Ana"}, {0: "Bo"}, {0: None}, {0: "Bo"}], [{}, {}, {}, {}]),
        ([{0: None}, {0: None}], [{}, {}]),
        # one slip takes nothing back, two do
        (
            [{0: "Ana"}, {0: "Ana"}, {0: None}, {0: "Ana"}, {0: None}, {0: None}],
            [{}, {0: "Ana"}, {}, {}, {}, {0: None}],
        ),
        ([{0: "Ana"}, {0: "Ana"}, {0: "Bo"}, {0: "Bo"}], [{}, {0: "Ana"}, {}, {0: "Bo"}]),
        # nobody keeps a name that another is given
        ([{0: "Ana"}, {0: "Ana"}, {1: "Ana"}, {1: "Ana"}], [{}, {0: "Ana"}, {}, {0: None, 1: "Ana"}]),
        ([{0: "Ana", 1: "Bo"}] * 2 + [{0: "Bo", 1: "Ana"}] * 2, [{}, {0: "Ana", 1: "Bo"}, {}, {0: "Bo", 1: "Ana"}]),
    ],
)
def test_a_name_is_said_when_it_is_sure(
    decisions: list[dict[int, str | None]], said: list[dict[int, str | None]]
) -> None:
    names = Names()
    for decision, expected in zip(decisions, said, strict=True):
        told = names.decide({speaker: found(name) for speaker, name in decision.items()})
        assert {one.speaker: one.identity.name for one in told} == expected
    held = dict(names.said)
    end = names.conclude({5: found("Zoe"), 6: found(None)})
    assert {one.speaker: one.identity.name for one in end} == {**dict.fromkeys(held), 5: "Zoe", 6: None}


# Live.


def names_of(updates: Sequence[TurnUpdate]) -> dict[str | None, set[str | None]]:
    """What each speaker is called in what is shown."""
    names: dict[str | None, set[str | None]] = {}
    for update in newest(updates):
        names.setdefault(update.speaker, set()).add(update.name)
    return names


def test_a_name_comes_while_they_speak_and_stands_on_all_their_turns(
    pipeline: SpeakerDiarization, enrol: Enrol, early: EmbeddedRecording
) -> None:
    people = enrol("Angus", "Clara", "Karl")
    stream = knowing(pipeline, people).live()
    samples = conversation(LENGTH)
    said: list[TurnUpdate] = []
    first: dict[str | None, float] = {}
    for chunk in laws.chunks(samples, list(range(RATE, len(samples), RATE))):
        said += stream.push(chunk)
        assert all(len(names) == 1 for names in names_of(said).values())
        for (name,) in names_of(said).values():
            first.setdefault(name, chunk.position / RATE)
    assert 2 <= first["Clara"] <= 6  # from 0.5 s on
    assert 13 <= first["Angus"] <= 18  # from 11.5 s on
    said += stream.flush()
    offline = recluster(early, pipeline.config, people).updates
    assert [(turn.start, turn.end, turn.identity) for turn in newest(said)] == [
        (turn.start, turn.end, turn.identity) for turn in newest(offline)
    ]


def two_voices() -> list[EmbeddingWindow | Clock]:
    """Two people in turns of ten windows, with the clock."""
    items: list[EmbeddingWindow | Clock] = []
    voices = np.eye(2, 8, dtype=np.float32)
    for number in range(60):
        start = number * 6_400
        voice = voices[number // 10 % 2]
        items += [EmbeddingWindow(start, start + 25_600, ((start, start + 25_600),), number, voice, 1.0)]
        items += [Clock(start + 25_600)]
    return items


def scripted(*names: str | None) -> Callable[..., list[Identity]]:
    """Finds the first speaker to be these, one decision after another, and the last of them from then on."""
    left = list(names)

    def identify(voices: np.ndarray, _seconds: np.ndarray) -> list[Identity]:
        name = left.pop(0) if len(left) > 1 else left[0]
        return [found(name), *[found(None)] * (len(voices) - 1)]

    return identify


def test_a_name_can_be_taken_back() -> None:
    with closing(EmbeddingFile()) as file:
        clustering = OnlineClustering(
            ClusteringConfig("agglomerative"), OnlineConfig(), file, scripted(None, "Ana", "Ana", None, None, None)
        )
        stage = clustering | RevisedTurns(TurnsConfig(), LiveConfig(), 400)
        said: list[TurnUpdate] = []
        history: list[str | None] = []
        for item in two_voices():
            said += stage.push(item)
            names = names_of(said)
            assert all(len(own) == 1 for own in names.values())
            (name,) = names.get("SPEAKER_00", {None})
            history += [name] if history[-1:] != [name] else []
        assert history == [None, "SPEAKER_00", "Ana", "SPEAKER_00"]
        end = stage.flush()
    assert {update.identity for update in end} == {found(None)}


def test_a_merge_keeps_the_name_of_who_stays_or_else_of_who_goes() -> None:
    def shown(*named: Named) -> list[set[str | None]]:
        """What the two are called before and after the first is merged into the second."""
        with closing(EmbeddingFile()) as file:
            stage = RevisedTurns(TurnsConfig(), LiveConfig(), 400)
            clustering = OnlineClustering(ClusteringConfig("agglomerative"), OnlineConfig(), file)
            items = [said for item in two_voices() for said in clustering.push(item)]
            said = laws.pushed(stage, [*items, *named, items[-1]])
            before = {update.name for update in newest(said)}
            said += stage.push(MergeSpeakers(0, 1))
            assert all(len(names) == 1 for names in names_of(said).values())
            return [before, {update.name for update in newest(said)}]

    ana, bo = Named(0, found("Ana")), Named(1, found("Bo"))
    assert shown() == [{"SPEAKER_00", "SPEAKER_01"}, {"SPEAKER_01"}]
    assert shown(ana, bo) == [{"Ana", "Bo"}, {"Bo"}]
    assert shown(bo) == [{"SPEAKER_00", "Bo"}, {"Bo"}]
    assert shown(ana, Named(1, found(None))) == [{"Ana", "SPEAKER_01"}, {"Ana"}]


@pytest.mark.parametrize("other", [None, {"Zoe": "Clara"}])
def test_a_stream_goes_on_with_other_people(
    pipeline: SpeakerDiarization, enrol: Enrol, other: dict[str, str] | None
) -> None:
    """Who is enrolled is not part of what is saved: it is decided anew."""
    samples = conversation(LENGTH)
    with closing(EmbeddingFile()) as file:
        pipeline.people = None
        before, after = (knowing(pipeline, people) for people in (enrol("Clara"), enrol(**other) if other else None))
        front, back = before.live_front(), before.live_back(file)
        half = len(samples) // 2

        def through(items: Sequence[object]) -> Iterator[TurnUpdate]:
            for item in items:
                (heard_,) = [item] if isinstance(item, Clock) else pipeline.embed([item])  # type: ignore[list-item]  # windows
                yield from back.push(heard_)

        said = list(through(front.push(AudioChunk(0, samples[:half]))))
        assert names_of(said)["SPEAKER_00"] == {"Clara"}
        saved = back.save()
        back = after.live_back(file)
        back.restore(saved)
        said += [*through(front.push(AudioChunk(half, samples[half:]))), *through(front.flush()), *back.flush()]
    assert names_of(said)["SPEAKER_00"] == {"Zoe" if other else "SPEAKER_00"}


# The server.


Begin = Callable[[People | None], Session]


@pytest.fixture
def begin(pipeline: SpeakerDiarization) -> Iterator[Begin]:
    begun: list[Session] = []

    def new(people: People | None) -> Session:
        begun.append(Session("Session-1", Start(), knowing(pipeline, people), EmbeddingFile()))
        return begun[-1]

    yield new
    for session in begun:
        session.close()


def identified(said: Sequence[Message]) -> list[tuple[str, str | None]]:
    return [(one["speaker"], one["name"]) for one in said if one["type"] == "speaker" and one["event"] == "identified"]


def test_a_client_is_told_who_is_identified(pipeline: SpeakerDiarization, enrol: Enrol, begin: Begin) -> None:
    client = Client()  # holds everything against the schema
    said = run(pipeline, begin(enrol("Angus", "Clara")), blocks(speech(LENGTH), range(0, LENGTH * RATE, RATE), 2))
    client.take(said)
    assert identified(said) == [("SPEAKER_00", "Clara"), ("SPEAKER_02", "Angus")]
    told = next(message for message in said if message.get("event") == "identified")
    assert told["decision"]["score"] > 0.5
    assert told["decision"]["runner_up"]["name"] == "Angus"
    assert "Clara" in told["decision"]["reason"]
    assert [one["name"] for one in said[-1]["speakers"]] == ["Clara", None, "Angus", None]
    assert {turn.speaker for turn in client.current} == {"Clara", "Angus", "SPEAKER_01", "SPEAKER_03"}


def test_what_the_user_says_comes_before_what_is_found(
    pipeline: SpeakerDiarization, enrol: Enrol, begin: Begin
) -> None:
    session, client = begin(enrol("Angus", "Clara")), Client()
    *first, last = blocks(speech(LENGTH), [10 * RATE, 19 * RATE], 2)
    for piece in first:
        client.take(heard(pipeline, session, piece))
    assert client.names == {"SPEAKER_00": "Clara", "SPEAKER_01": None, "SPEAKER_02": "Angus", "SPEAKER_03": None}

    def do(command: Rename | Merge) -> list[tuple[str, str | None]]:
        """The speakers of whom something is said, with their names."""
        said = session.command(command)
        client.take(said)
        return [(one["speaker"], one["name"]) for one in said if one["type"] == "speaker"]

    assert do(Rename("SPEAKER_02", "Bo")) == [("SPEAKER_02", "Bo")]
    assert do(Rename("SPEAKER_02", "")) == [("SPEAKER_02", None), ("SPEAKER_02", "Angus")]
    # whom the user has named, nobody else is
    assert do(Rename("SPEAKER_01", "Clara")) == [("SPEAKER_01", "Clara"), ("SPEAKER_00", None)]
    assert do(Rename("SPEAKER_01", "Eve")) == [("SPEAKER_01", "Eve"), ("SPEAKER_00", "Clara")]
    assert do(Merge("SPEAKER_02", "SPEAKER_01")) == [("SPEAKER_02", None)]
    client.take(heard(pipeline, session, last))
    client.take(ended(pipeline, session))
    assert {turn.speaker for turn in client.current} == {"Clara", "Eve", "SPEAKER_03"}
    reasons = {update.identity.reason for update in session.result.updates if update.identity}
    assert "named by the user" in reasons


def test_a_merged_speaker_goes_by_the_name_that_was_found_for_either(
    pipeline: SpeakerDiarization, enrol: Enrol, begin: Begin
) -> None:
    session, client = begin(enrol("Clara")), Client()
    for piece in blocks(speech(12), [6 * RATE], 2):
        client.take(heard(pipeline, session, piece))
    said = session.command(Merge("SPEAKER_00", "SPEAKER_01"))
    client.take(said)
    assert identified(said) == [("SPEAKER_01", "Clara")]
    assert {turn.speaker for turn in client.current} == {"Clara"}
    with pytest.raises(ProtocolError, match="SPEAKER_00 is gone"):
        session.command(Rename("SPEAKER_00", "x"))
    client.take(ended(pipeline, session))
    assert {turn.speaker for turn in client.current} == {"Clara"}


@pytest.mark.parametrize("known", [True, False])
def test_a_resumed_session_has_its_names_while_these_people_are_enrolled(
    pipeline: SpeakerDiarization, enrol: Enrol, begin: Begin, known: bool
) -> None:
    people = enrol("Clara")
    session, client = begin(people), Client()
    data = speech(16)
    client.take(heard(pipeline, session, data[: 2 * 8 * RATE]))
    state = dumps(session.save())
    assert people.references.tobytes() not in state
    again = Session.restore(
        loads(state), session.id, Start(), knowing(pipeline, people if known else None), session.embeddings
    )
    client.take([again.ready(message_bytes=1, idle_s=60, resumable=True), *again.snapshot()])
    assert client.names["SPEAKER_00"] == "Clara"
    client.take(heard(pipeline, again, data[2 * again.position :]))
    said = ended(pipeline, again)
    client.take(said)
    assert client.names["SPEAKER_00"] == ("Clara" if known else None)
    assert identified(said) == ([] if known else [("SPEAKER_00", None)])
    again.close()


def test_a_session_is_recovered_with_names(pipeline: SpeakerDiarization, enrol: Enrol, tmp_path: Path) -> None:
    journal, people = Journal(tmp_path), enrol("Clara")
    server = SpeakerDiarization(pipeline.config, people)
    for name in ("cut", "over"):
        entry = journal.create(name, Start(), server)
        session = entry.session(server)
        heard(pipeline, session, speech(9))
        if name == "over":
            said = ended(pipeline, session)
            entry.finish(session.position, [*session.snapshot(), said[-1]])
        else:
            entry.checkpoint(session.save())
            session.close()
            entry.close()
    assert {turn.speaker for turn in turns_from(recover(journal, "cut").updates)} == {"SPEAKER_00", "SPEAKER_01"}
    cut, over = recover(journal, "cut", lambda _: people), recover(journal, "over")
    for result in (cut, over):
        assert {turn.speaker for turn in turns_from(result.updates)} == {"Clara", "SPEAKER_01"}
        (clara,) = {update.identity for update in result.updates if update.name == "Clara"}
        assert clara is not None
        assert "Clara" in clara.reason


# The command line.


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "talk.wav", 12)


@pytest.fixture(scope="module")
def store(enrol: Enrol, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Clara is enrolled."""
    return stored(enrol("Clara"), tmp_path_factory.mktemp("store") / "people.db")


def stored(people: People, path: Path) -> Path:
    with ProfileStore(path) as kept:
        for name, voice in zip(people.names, people.references, strict=True):
            kept.enroll(name, [Reference(voice, people.fingerprint, 10.0, 0.9, "2025-01-01T00:00:00Z")])
    return path


SET = [part for setting in PLAIN for part in ("--set", setting)]


def test_recordings_are_named_by_default_and_on_demand(
    clip: Path, store: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = here(capfd, "file", clip, *SET)
    assert "Clara" not in plain.out
    voices = tmp_path / "talk.voices"
    named = here(capfd, "file", clip, *SET, "--profiles", store, "--save-embeddings", voices)
    assert (named.code, named.err) == (0, "")
    assert named.out == plain.out.replace("SPEAKER_00", "Clara")
    assert here(capfd, "recluster", voices, "--profiles", store) == named
    corrected = here(capfd, "correct", voices, "--set-turn", "5.082-12=Bo", "--profiles", store)
    assert (corrected.code, corrected.out) == (0, named.out.replace("SPEAKER_01", "Bo"))
    monkeypatch.setenv("DIARIZE_PROFILES", str(store))
    assert here(capfd, "file", clip, *SET) == named
    assert here(capfd, "file", clip, *SET, "--no-profiles") == plain


def test_workers_name_people_too(clip: Path, store: Path, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.wav").write_bytes(clip.read_bytes())
    done = here(capfd, "file", tmp_path / "in", "-o", f"{tmp_path / 'out'}/", "--jobs", "2", *SET, "--profiles", store)
    assert done.code == 0
    assert all(" Clara " in (tmp_path / "out" / f"{name}.rttm").read_text() for name in ("a", "b"))


def test_people_that_cannot_be_named(
    clip: Path,
    store: Path,
    enrol: Enrol,
    early: EmbeddedRecording,
    tmp_path: Path,
    capfd: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = here(capfd, "file", clip, "--profiles", tmp_path / "gone.db")
    assert (gone.code, gone.out) == (2, "")
    assert gone.err == (
        f"error: {tmp_path}/gone.db: nobody is enrolled here; check the name, or make it with diarize enroll\n"
    )
    both = here(capfd, "file", clip, "--profiles", store, "--no-profiles")
    assert (both.code, both.out) == (2, "")
    others = stored(replace(enrol("Clara"), fingerprint="another"), tmp_path / "others.db")
    refused = here(capfd, "file", clip, "--profiles", others)
    assert (refused.code, refused.out) == (2, "")
    assert "another" in refused.err
    # the user's own store is not asked for, and does not stand in the way
    monkeypatch.setenv("DIARIZE_PROFILES", str(others))
    warned = here(capfd, "file", clip, *SET)
    assert warned.code == 0
    assert "SPEAKER_00" in warned.out
    assert warned.err.startswith("warning: nobody is named: ")
    assert warned.err.count("\n") == 1
    write_embedded(tmp_path / "talk.voices", early)
    assert here(capfd, "recluster", tmp_path / "talk.voices", "--profiles", others).code == 1


def test_others_than_this_machine_are_told_names_only_on_demand(
    enrol: Enrol, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People of another model, who cannot be named, show whether they are looked at."""
    others = stored(replace(enrol("Clara"), fingerprint="another"), tmp_path / "others.db")
    monkeypatch.setenv("DIARIZE_PROFILES", str(others))
    (tmp_path / "none").touch()
    options = ["--journal", str(tmp_path / "none")]  # which ends it
    assert "nobody is named" in here(capfd, "serve", *options).err
    far = [*options, "--host", "192.0.2.1"]
    assert "nobody is named" not in here(capfd, "serve", *far).err
    refused = here(capfd, "serve", *far, "--profiles", others)
    assert refused.code == 2
    assert "another" in refused.err
