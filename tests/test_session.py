"""A live session without its connection: a client always has the answer, and an interruption leaves no trace."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.clustering.memory import EmbeddingFile
from diarize.clustering.online import OnlineConfig
from diarize.formats import as_json, as_rttm
from diarize.live import LiveConfig
from diarize.pipeline import PipelineConfig, SpeakerDiarization
from diarize.rttm import milliseconds, turns_from
from diarize.server.hearing import Hearing
from diarize.server.messages import KeepAlive, Merge, Message, Options, ProtocolError, Rename, Start, numbered
from diarize.server.saved import Heard, Saved, dumps, loads
from diarize.server.session import Session, asked
from diarize.server.shown import Shown
from diarize.sources import raw_source
from diarize.types import Held, SpeechWindow, TurnUpdate
from diarize.vad import VadConfig
from tests import laws
from tests.command import conversation
from tests.overlap import Reader
from tests.sessions import (
    RATE,
    Client,
    blocks,
    ended,
    finalized,
    heard,
    pcm,
    remembering,
    run,
    speech,
    unnumbered,
)

LENGTH = 24
"""Seconds: four speakers, two of whom come again."""

HALVES = range(0, LENGTH * RATE, RATE // 2)
FORMATS = [
    Start(encoding=encoding, sample_rate=rate, channels=channels)
    for rate in (8_000, RATE, 44_100)
    for encoding, channels in (("s16le", 1), ("f32le", 2), ("mulaw", 1))
]
NAMES = ["Ana María", "Bo", ""]

Begin = Callable[..., Session]
few = settings(deadline=None, max_examples=6)


def nothing(*_: object) -> None:
    """Warnings are not asked for."""


@pytest.fixture(scope="module")
def pipeline() -> SpeakerDiarization:
    """One that opens speakers too soon: on so clear a conversation the others have little to correct."""
    pipeline = remembering(PipelineConfig(online=OnlineConfig(near=0.3, opening=1, every=10)))
    hearing = Hearing(Start(), pipeline, nothing)
    items = hearing.push(speech(LENGTH)) + hearing.flush()
    pipeline.embed([item for item in items if isinstance(item, SpeechWindow)])  # at once, which is quick
    return pipeline


@pytest.fixture(scope="module")
def begin(pipeline: SpeakerDiarization) -> Iterator[Begin]:
    """Begins sessions, and closes them."""
    begun: list[Session] = []

    def new(start: Start | None = None, over: SpeakerDiarization | None = None) -> Session:
        begun.append(Session("Session-1", start or Start(), over or pipeline, EmbeddingFile()))
        return begun[-1]

    yield new
    for session in begun:
        session.close()


@pytest.fixture(scope="module")
def undisturbed(pipeline: SpeakerDiarization, begin: Begin) -> list[Message]:
    """What is said to audio of `LENGTH` in blocks of half a second."""
    return run(pipeline, begin(), blocks(speech(LENGTH), HALVES, 2))


def test_the_answer_is_that_of_the_file(pipeline: SpeakerDiarization, undisturbed: list[Message]) -> None:
    client = Client()
    client.take(undisturbed)
    offline = turns_from(pipeline.diarize(raw_source(io.BytesIO(speech(LENGTH)), RATE, 1, "s16le")).updates)
    assert len(offline) >= 5
    live = client.current
    assert [(milliseconds(turn.start), milliseconds(turn.end)) for turn in offline] == [
        (milliseconds(turn.start), milliseconds(turn.end)) for turn in live
    ]
    pairs = {(a.speaker, b.speaker) for a, b in zip(offline, live, strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 4


def test_what_the_client_sees_is_corrected(undisturbed: list[Message]) -> None:
    kinds = [message["type"] for message in undisturbed]
    assert kinds.count("done") == 1
    revised = [change for message in undisturbed if message["type"] == "revision" for change in message["changes"]]
    assert revised
    assert {change["reason"] for change in revised} <= {"reclustered", "final"}
    assert {message["event"] for message in undisturbed if message["type"] == "speaker"} == {"new"}
    assert undisturbed[-1]["audio_s"] == LENGTH
    first = next(message for message in undisturbed if message["type"] == "segment")
    assert first["end"] < 2
    assert first["state"] == "provisional"


def turn(number: int, end: int, speaker: str | None, *, final: bool = False) -> TurnUpdate:
    return TurnUpdate(number, 0, end, speaker, None, 0.5, final)


def test_what_changes_within_one_call_is_told_once() -> None:
    shown, client = Shown(), Client()

    def said(*updates: TurnUpdate) -> list[tuple[Any, ...]]:
        told = shown.update(updates, "reclustered")
        client.take(numbered(message, client.seq + seq) for seq, message in enumerate(told, 1))
        return [
            (
                message["type"],
                *([(c["id"], c["from"], c["to"]) for c in message["changes"]] if "changes" in message else []),
            )
            for message in told
        ]

    assert said(turn(0, 10, "SPEAKER_00"), turn(0, 20, "SPEAKER_00")) == [("speaker",), ("segment",)]
    assert said(turn(1, 9, "SPEAKER_01"), turn(1, 9, None), turn(2, 9, "SPEAKER_02"), turn(2, 9, "SPEAKER_00")) == [
        ("segment",)
    ]
    assert said(turn(0, 30, "SPEAKER_01"), turn(2, 9, "SPEAKER_00"), turn(0, 40, "SPEAKER_01")) == [
        ("speaker",),
        ("segment",),
        ("revision", (0, "SPEAKER_00", "SPEAKER_01")),
    ]
    assert said(turn(2, 9, None), turn(0, 40, "SPEAKER_00"), turn(3, 50, "SPEAKER_01")) == [
        ("segment",),
        ("revision", (2, "SPEAKER_00", None), (0, "SPEAKER_01", "SPEAKER_00")),
    ]
    assert said() == []
    assert client.segments.keys() == shown.turns.keys() == {0, 3}


COMMANDS = st.lists(
    st.tuples(
        st.integers(0, LENGTH * RATE),
        st.sampled_from(["rename", "merge", "finalize", "keepalive"]),
        st.integers(0, 9),
        st.integers(0, 9),
        st.sampled_from(NAMES),
    ),
    max_size=6,
)


def command(labels: list[str], kind: str, a: int, b: int, name: str) -> Rename | Merge | KeepAlive:
    """What a user may want who sees these labels."""
    if kind == "rename" and labels:
        return Rename(labels[a % len(labels)], name)
    if kind == "merge" and len(labels) > 1:
        first = labels.pop(a % len(labels))
        return Merge(first, labels[b % len(labels)])
    return KeepAlive()


@few
@given(cuts=laws.cuts(LENGTH * RATE, most=30), commands=COMMANDS)
def test_the_client_always_has_the_answer(
    pipeline: SpeakerDiarization,
    begin: Begin,
    cuts: list[int],
    commands: list[tuple[int, str, int, int, str]],
) -> None:
    session, client = begin(), Client()
    obeyed: list[Rename | Merge | KeepAlive] = []

    def take(said: list[Message]) -> None:
        client.take(said)
        turns = turns_from(session.result.updates)
        assert [(milliseconds(t.start), milliseconds(t.end), t.speaker) for t in turns] == [
            (milliseconds(t.start), milliseconds(t.end), t.speaker) for t in client.current
        ]

    take([session.ready(message_bytes=1, idle_s=60, resumable=True)])
    data, sent = speech(LENGTH), 0
    for at, kind, a, b, name in [*sorted(commands), (LENGTH * RATE, "keepalive", 0, 0, "")]:
        for piece in blocks(data[2 * sent : 2 * at], [cut - sent for cut in cuts if sent <= cut <= at], 2):
            take(heard(pipeline, session, piece))
        sent = at
        if kind == "finalize":
            take(finalized(pipeline, session))
        else:
            obeyed.append(command(sorted(client.labels - client.merged), kind, a, b, name))
            take(session.command(obeyed[-1]))
    take(ended(pipeline, session))

    # neither the cuts nor the moments of the commands nor a finalize have changed it
    later = begin()
    for piece in blocks(data, range(0, LENGTH * RATE, RATE // 10), 2):
        heard(pipeline, later, piece)
    for wish in obeyed:
        later.command(wish)
    assert ended(pipeline, later)[-1]["rttm"] == client.rttm == as_rttm(session.result)


def test_a_merge_is_for_good_and_a_name_goes_with_it(pipeline: SpeakerDiarization, begin: Begin) -> None:
    session, client = begin(), Client()
    pieces = blocks(speech(LENGTH), HALVES, 2)
    for piece in pieces[: 2 * 13]:
        client.take(heard(pipeline, session, piece))
    first, second = client.talking[:2]
    client.take(session.command(Rename(second, "Robin Øst")))
    said = session.command(Merge(second, first))
    client.take(said)
    assert [message["type"] for message in said] == ["speaker", "speaker", "revision"]
    assert {change["reason"] for change in said[-1]["changes"]} == {"merged"}
    assert client.names[first] == "Robin Øst"
    for gone in (Rename(second, "x"), Merge(second, first), Merge(first, second)):
        with pytest.raises(ProtocolError, match=f"{second} is gone: it was merged into {first}") as error:
            session.command(gone)
        assert not error.value.fatal
    for piece in pieces[2 * 13 :]:
        client.take(heard(pipeline, session, piece))
    client.take(session.command(Rename(first, "")))
    client.take(session.command(Rename(first, "R")))
    client.take(ended(pipeline, session))
    assert second not in client.talking
    assert len(client.talking) == 3
    assert client.current[0].speaker == "R"
    assert '"reason": "named by the user"' in as_json(session.result)


def test_unknown_speakers_are_named(begin: Begin) -> None:
    session = begin()
    with pytest.raises(ProtocolError, match="no speaker SPEAKER_07; there is none yet") as error:
        session.command(Rename("SPEAKER_07", "Ana"))
    assert error.value.code == "bad_message"
    assert not error.value.fatal


def test_finalize_changes_no_answer(pipeline: SpeakerDiarization, begin: Begin, undisturbed: list[Message]) -> None:
    session, client = begin(), Client()
    for piece in blocks(speech(LENGTH), range(0, LENGTH * RATE, 34_567), 2):
        client.take(heard(pipeline, session, piece))
        client.take(finalized(pipeline, session))
    client.take(ended(pipeline, session))
    assert client.rttm == undisturbed[-1]["rttm"]


@pytest.mark.parametrize("at", [4.3, 5.6, 7.05, 20.2])
def test_finalize_labels_all_that_was_heard_and_nothing_is_hidden_again(
    pipeline: SpeakerDiarization, begin: Begin, at: float
) -> None:
    session, client = begin(Start(options=Options(latency=3.0))), Client()
    data, frames = speech(LENGTH), round(at * RATE)
    client.take(heard(pipeline, session, data[: 2 * frames]))
    shown = max(turn.end for turn in client.current)
    *said, answer = finalized(pipeline, session)
    client.take(said)
    assert answer["position"] == frames
    offline = pipeline.diarize((np.frombuffer(data[: 2 * frames], "<i2"), RATE))
    end = max(turn.end for turn in client.current)
    assert milliseconds(end) == milliseconds(max(update.end for update in offline.updates)) > milliseconds(shown)
    for piece in blocks(data[2 * frames :][: 2 * 2 * RATE], range(0, 2 * RATE, 1_600), 2):
        client.take(heard(pipeline, session, piece))
        # a stretch of speech may turn out to end with the frame of the detector that was not full
        assert max(turn.end for turn in client.current) >= end - 512


def test_what_a_finalize_has_taken_for_speech_and_was_none_does_not_stay(begin: Begin) -> None:
    """The audio stops within a frame of the detector, whose answer for the part may be another than for the whole."""
    pipeline = remembering(PipelineConfig(vad=VadConfig(min_on=0, min_off=0, pad=0)))
    click = pcm(conversation(2)[27_995:][:1_808], Start())
    noise = np.random.default_rng(0).normal(0, 3_000, 4_000).astype("<i2").tobytes()
    session, client = begin(over=pipeline), Client()
    client.take(heard(pipeline, session, bytes(2 * RATE) + click))
    client.take(finalized(pipeline, session))
    assert len(client.segments) == 1
    client.take(heard(pipeline, session, noise + bytes(2 * RATE)))
    client.take(ended(pipeline, session))
    assert client.rttm == ""


def kept(heard: Heard) -> Heard:
    """What was saved, after it has been on disk."""
    return loads(dumps(Saved(heard, None, 0, Shown(), 0, 0))).heard


@pytest.mark.parametrize("start", FORMATS, ids=lambda start: f"{start.encoding}-{start.sample_rate}")
@settings(deadline=None, max_examples=3)
@given(data=st.data())
def test_what_is_heard_again_is_heard_as_if_never_interrupted(
    pipeline: SpeakerDiarization, start: Start, data: st.DataObject
) -> None:
    audio = speech(14, start)
    frame = len(pcm(conversation(1), start)) // start.sample_rate
    frames = len(audio) // frame
    whole = Hearing(start, pipeline, nothing)
    expected = laws.plain(whole.push(audio) + whole.flush())
    hearing = Hearing(start, pipeline, nothing)
    items, positions = [], [0]
    for until in data.draw(laws.cuts(frames, most=4)):
        items += hearing.push(audio[frame * hearing.position : frame * until])
        saved = kept(hearing.save())
        positions.append(saved.position)
        assert 0 <= until - saved.position <= 12 * start.sample_rate or until == 0
        hearing = Hearing(start, pipeline, nothing)
        hearing.restore(saved)
    items += hearing.push(audio[frame * hearing.position :]) + hearing.flush()
    assert laws.plain(items) == expected
    assert positions == sorted(positions), "what has been acknowledged is not asked for again"


@few
@given(at=st.integers(1, len(HALVES)), again=st.integers(0, 4))
def test_a_resumed_session_says_what_an_uninterrupted_one_says(
    pipeline: SpeakerDiarization, begin: Begin, undisturbed: list[Message], at: int, again: int
) -> None:
    pieces = blocks(speech(LENGTH), HALVES, 2)
    session = begin()
    said = [message for piece in pieces[:at] for message in heard(pipeline, session, piece)]
    saved = loads(dumps(session.save()))
    for piece in pieces[at : at + again]:
        heard(pipeline, session, piece)  # which is lost
    session = Session.restore(saved, session.id, Start(), pipeline, session.embeddings)
    client, resumed = Client(), Client()
    client.take(said)
    ready = session.ready(message_bytes=1, idle_s=60, resumable=True)
    resumed.take([ready, *session.snapshot()])
    assert ready["resumed"]
    assert ready["seq"] > said[-1]["seq"] + 100_000 if said else True
    assert resumed.segments.keys() == client.segments.keys()
    assert resumed.current == client.current
    seam = sum(map(len, pieces[:at]))
    assert heard(pipeline, session, speech(LENGTH)[2 * ready["position"] : seam]) == []
    rest = run(pipeline, session, pieces[at:])
    resumed.take(rest)
    assert unnumbered(said + rest) == unnumbered(undisturbed)


def test_a_resumed_session_knows_names_merges_and_a_finalize(pipeline: SpeakerDiarization, begin: Begin) -> None:
    start = Start(encoding="f32le", sample_rate=44_100, channels=2, uri="a b", options=Options(latency=2.0))
    data = speech(LENGTH, start)
    answers = []
    for interrupted in (False, True):
        session, client = begin(start), Client("a b")
        seam = 8 * (44_100 * 17 + 5)
        client.take(heard(pipeline, session, data[:seam]))
        first, second, third = client.talking[:3]
        client.take(session.command(Rename(first, "Clara")))
        client.take(session.command(Merge(third, second)))
        client.take(finalized(pipeline, session))
        if interrupted:
            session = Session.restore(loads(dumps(session.save())), session.id, start, pipeline, session.embeddings)
            client.take([session.ready(message_bytes=1, idle_s=60, resumable=True), *session.snapshot()])
            assert client.names[first] == "Clara"
            assert client.merged == {third}
            client.take(finalized(pipeline, session))  # before its audio is there again
            seam = 8 * session.position
        for piece in blocks(data[seam:], range(0, 44_100 * 8, 7_777), 8):
            client.take(heard(pipeline, session, piece))
        client.take(ended(pipeline, session))
        answers.append(client.rttm)
    assert answers[0] == answers[1]
    assert "a%20b" in str(answers[0])
    assert "Clara" in str(answers[0])


def arrays(value: Any) -> Iterator[np.ndarray[Any, Any]]:
    """Every array in a nested value, which must hold no audio under its own name."""
    assert not isinstance(value, Held | SpeechWindow)
    if isinstance(value, np.ndarray):
        yield value
    elif is_dataclass(value):
        for part in fields(value):
            yield from arrays(getattr(value, part.name))
    elif isinstance(value, dict | list | tuple | set):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays(item)


@few
@given(at=st.integers(RATE, LENGTH * RATE))
def test_what_is_saved_holds_no_audio(pipeline: SpeakerDiarization, begin: Begin, at: int) -> None:
    session = begin()
    data = speech(LENGTH)[: 2 * at]
    heard(pipeline, session, data)
    saved = session.save()
    again = at - saved.position
    assert max((array.size for array in arrays(saved.heard)), default=0) <= 128  # the detector's memory
    assert {array.shape for array in arrays(saved.back)} <= {(192,)}  # embeddings
    written = dumps(saved)
    assert len(dumps(replace(saved, back=None, shown=Shown()))) < 4_000
    samples = np.frombuffer(data, "<i2")[-again:] if again else np.zeros(0)
    floats = (samples / 32_768).astype("<f4")
    for i in range(0, len(samples) - 16, 16):
        assert floats[i : i + 16].tobytes() not in written or not floats[i : i + 16].any()


def test_a_state_is_not_taken_without_its_embeddings(pipeline: SpeakerDiarization, begin: Begin) -> None:
    session = begin()
    heard(pipeline, session, speech(8))
    saved = session.save()
    assert saved.embeddings > 5
    session.embeddings.truncate(3)
    with pytest.raises(ValueError, match=f"{saved.embeddings} embeddings were kept, but only 3 are there"):
        Session.restore(saved, "Session-1", Start(), pipeline, session.embeddings)


def test_an_end_before_the_audio_that_had_been_heard_is_refused(pipeline: SpeakerDiarization, begin: Begin) -> None:
    session = begin()
    heard(pipeline, session, speech(8))
    session = Session.restore(session.save(), "Session-1", Start(), pipeline, session.embeddings)
    assert session.audio(speech(8)[2 * session.position : 2 * 7 * RATE]) == []
    with pytest.raises(ProtocolError, match="ends at frame 112000, but more had been heard") as error:
        session.end()
    assert error.value.close == 1003


@pytest.mark.parametrize("channels", [1, 2])
def test_part_of_a_frame_is_bad_audio(begin: Begin, channels: int) -> None:
    session = begin(Start(channels=channels))
    session.audio(bytes(2 * channels))
    with pytest.raises(ProtocolError, match="no whole number of s16le frames") as error:
        session.audio(bytes(2 * channels + 1))
    assert (error.value.code, error.value.close) == ("bad_audio", 1003)
    assert session.position == 1


def test_what_is_no_number_is_silence_and_told_once(pipeline: SpeakerDiarization, begin: Begin) -> None:
    start = Start(encoding="f32le")
    samples = conversation(4)
    silent, broken = samples.copy(), samples.copy()
    silent[RATE : 2 * RATE] = 0
    broken[RATE : 2 * RATE] = np.resize([np.nan, np.inf, -3e38], RATE)
    said = []
    for audio in (silent, broken):
        session = begin(start)
        pieces = blocks(audio.astype("<f4").tobytes(), range(0, 4 * RATE, 1_000), 4)
        messages, warned = [], []
        for piece in pieces:
            messages += heard(pipeline, session, piece)
            warned += session.warnings()
        said.append((unnumbered(messages), warned))
    assert said[0] == (said[1][0], [])
    (warning,) = said[1][1]
    assert warning["code"] == "not_finite"
    Client().take([warning])


def test_a_microphone_that_is_too_loud_is_told_once(begin: Begin) -> None:
    quiet, loud = begin(), begin()
    samples = conversation(4)
    quiet.audio(pcm(samples / np.abs(samples).max(), Start()))
    assert quiet.warnings() == []
    for _ in range(3):
        loud.audio(pcm((samples * 50).clip(-1, 1), Start()))
    (warning,) = loud.warnings()
    assert warning["code"] == "clipped"


def test_after_the_end_nothing_is_heard(pipeline: SpeakerDiarization, begin: Begin) -> None:
    session = begin()
    said = ended(pipeline, session)
    assert [message["type"] for message in said] == ["done"]
    assert said[0]["rttm"] == ""
    assert said[0]["speakers"] == []
    for late in (session.end, session.finalize, lambda: session.audio(bytes(2))):
        with pytest.raises(ProtocolError, match="the audio has ended") as error:
            late()
        assert error.value.code == "bad_state"
    with pytest.raises(ValueError, match="session Session-1 has ended"):
        session.save()


def test_options_change_the_settings(pipeline: SpeakerDiarization, begin: Begin) -> None:
    session = begin(Start(options=Options(latency=3.0, num_speakers=2)))
    assert session.ready(message_bytes=1, idle_s=60, resumable=False)["latency"] == 3.0
    assert run(pipeline, session, [speech(LENGTH)])[-1]["type"] == "done"
    assert len({turn.speaker for turn in turns_from(session.result.updates)}) == 2
    assert pipeline.config.clustering.num_speakers is None, "which are everybody's"
    few = replace(pipeline.config, clustering=replace(pipeline.config.clustering, max_speakers=2))
    assert asked(few, Options(min_speakers=3)).clustering.speakers == (3, None)
    assert asked(few, Options(latency=2)).clustering.speakers == (1, 2)


def test_options_that_the_settings_do_not_allow_are_refused(begin: Begin) -> None:
    slow = remembering(PipelineConfig(vad=VadConfig(min_on=2.0), live=LiveConfig(5.0)))
    begin(over=slow)
    with pytest.raises(ProtocolError, match="the detector takes up to") as error:
        begin(Start(options=Options(latency=0.5)), over=slow)
    assert error.value.code == "bad_message"


@pytest.mark.parametrize("segmenter", [None, Reader()])
def test_what_webrtc_has_heard_cannot_be_saved(begin: Begin, segmenter: Reader | None) -> None:
    pipeline = remembering(PipelineConfig(vad=VadConfig(name="webrtc")))
    pipeline.segmenter = segmenter
    session = begin(over=pipeline)
    assert not session.ready(message_bytes=1, idle_s=60, resumable=True)["resumable"]
    (warning,) = session.warnings()
    assert warning["code"] == "not_resumable"
    with pytest.raises(ValueError, match="session Session-1 is not resumable"):
        session.save()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are found as Linux shows them")
def test_a_full_disk_ends_no_session(pipeline: SpeakerDiarization, undisturbed: list[Message], tmp_path: Path) -> None:
    path = tmp_path / "embeddings.bin"
    full = EmbeddingFile(path)
    session, client, warned = Session("Session-1", Start(), pipeline, full), Client(), []
    for i, piece in enumerate(blocks(speech(LENGTH), HALVES, 2)):
        if i == 20:  # from now on it can only be read
            (opened,) = (file for file in Path("/proc/self/fd").iterdir() if file.resolve() == path)
            only_read = os.open(path, os.O_RDONLY)
            os.dup2(only_read, int(opened.name))
            os.close(only_read)
        client.take(heard(pipeline, session, piece))
        warned += session.warnings()
    (warning,) = warned
    assert warning["code"] == "not_resumable"
    assert "Bad file descriptor" in warning["message"]
    with pytest.raises(ValueError, match="not resumable"):
        session.save()
    client.take(ended(pipeline, session))
    assert client.rttm == undisturbed[-1]["rttm"]
    with pytest.raises(OSError, match="again"):
        session.detach(OSError("again"))
    session.close()
    full.close()
