"""The messages of the live protocol: what is refused, what is sent, the schema of both, and the document about them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from websockets.sync.server import ServerConnection, serve

from diarize import audio
from diarize.rttm import format_rttm, talk_time, turns_from
from diarize.server import messages
from diarize.server.messages import (
    CLOSE_CODES,
    ClientMessage,
    End,
    Finalize,
    KeepAlive,
    Merge,
    Message,
    Options,
    ProtocolError,
    Rename,
    Start,
)
from diarize.server.parsing import (
    HIGHEST_RATE,
    LAST_POSITION,
    LOWEST_RATE,
    OPTIONS,
    TEXT_LIMIT,
    TYPES,
    parse,
    start_from_query,
)
from diarize.types import Identity, TurnUpdate

SCHEMA = messages.schema()
DEFINITIONS: dict[str, Any] = SCHEMA["$defs"]
CLIENT = Draft202012Validator({"$ref": "#/$defs/client", "$defs": DEFINITIONS})
SERVER = Draft202012Validator({"$ref": "#/$defs/server", "$defs": DEFINITIONS})
DOCUMENT = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text(encoding="utf-8")

VALID: list[tuple[str, ClientMessage]] = [
    ('{"type": "start"}', Start()),
    (
        '{"type": "start", "version": 1, "encoding": "mulaw", "sample_rate": 8000, "channels": 2, "session": "a-Z_9",'
        ' "position": 9007199254740991, "uri": "Café 1", "options":'
        ' {"latency": 2, "num_speakers": 3, "min_speakers": 1, "max_speakers": 3}}',
        Start(1, "mulaw", 8000, 2, "a-Z_9", LAST_POSITION, "Café 1", Options(2.0, 3, 1, 3)),
    ),
    ('{"type": "start", "sample_rate": 48e3, "channels": 1.0, "options": {}}', Start(sample_rate=48_000)),
    ('{"type": "keepalive"}', KeepAlive()),
    ('{"type": "finalize"}', Finalize()),
    ('{"type": "rename", "speaker": "SPEAKER_00", "name": "Ana María"}', Rename("SPEAKER_00", "Ana María")),
    ('{"type": "rename", "speaker": "SPEAKER_100", "name": ""}', Rename("SPEAKER_100", "")),
    # what joins the parts of an emoji, and what Persian names are written with, are no control characters
    (
        '{"type": "rename", "speaker": "SPEAKER_00", "name": "علی\\u200cرضا 👩\\u200d🚀"}',
        Rename("SPEAKER_00", "علی‌رضا 👩‍🚀"),
    ),
    ('{"type": "merge", "speaker": "SPEAKER_02", "into": "SPEAKER_00"}', Merge("SPEAKER_02", "SPEAKER_00")),
    ('{"type": "end"}', End()),
    (' {"erase": true, "type": "end"}\n', End(erase=True)),
    ('{"eof" : 1}', End()),
    ('{"type": "CloseStream"}', End()),
]


@pytest.mark.parametrize(("text", "message"), VALID)
def test_a_message_is_read_and_fits_the_schema(text: str, message: ClientMessage) -> None:
    read = parse(text)
    assert read == message
    assert [type(getattr(read, field.name)) for field in fields(read)] == [
        type(getattr(message, field.name)) for field in fields(message)
    ]
    CLIENT.validate(json.loads(text))


def test_the_bare_word_that_ends() -> None:
    assert parse("Done") == End()


def start(**values: object) -> str:
    return json.dumps({"type": "start", **values})


def rename(name: str) -> str:
    return json.dumps({"type": "rename", "speaker": "SPEAKER_00", "name": name})


NO_NAME = r"it must be text of at most 200 characters, without control characters or space around it, and no label$"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^text that is no message: Expecting value"),
        ("done", r"^text that is no message: Expecting value"),
        ("\x00\xff", r"^text that is no message: Expecting value"),
        ("[]", r"^text that is no message: an array is no JSON object$"),
        ("null", r"^text that is no message: null is no JSON object$"),
        ("[" * 16_000, r"^text that is no message: it is nested too deeply$"),
        ('{"a":' * 3_000, r"^text that is no message: it is nested too deeply$"),
        ('{"type": ' + "9" * 5_000 + "}", r"^text that is no message: Exceeds the limit"),
        ('{"type": "start", "position": NaN}', r"^text that is no message: NaN is no number of JSON$"),
        ('{"type": "end", "erase": -Infinity}', r"-Infinity is no number of JSON$"),
        ('{"type": "end", "type": "end"}', r"a field is there twice$"),
        ("{}", r"^type is null: it must be one of start, keepalive, finalize, rename, merge, end, CloseStream$"),
        ('{"type": ["end"]}', r"^type is an array: it must be one of start"),
        ('{"eof": true}', r"^type is null: it must be"),
        ('{"eof": 2}', r"^type is null: it must be"),
        ('{"type": "CloseStream", "erase": true}', r'^unknown field "erase": known: none$'),
        ('{"type": "keepalive", "now": 1}', r'^unknown field "now": known: none$'),
        (start(version=2), r"^version is 2: it must be 1, which this server speaks$"),
        (start(version=True), r"^version is true: it must be 1"),
        (start(encoding="opus"), r'^encoding is "opus": it must be one of s16le, f32le, mulaw$'),
        (start(encoding="s16le\n"), r'^encoding is "s16le\\n": it must be one of'),
        (start(encoding=["s16le"]), r"^encoding is an array: it must be one of"),
        (start(sample_rate=3999), r"^sample_rate is 3999: it must be an integer from 4,000 to 192,000$"),
        (start(sample_rate=192_001), r"^sample_rate is 192001: it must be"),
        (start(sample_rate=16_000.5), r"^sample_rate is 16000\.5: it must be"),
        (start(sample_rate="16000"), r'^sample_rate is "16000": it must be'),
        ('{"type": "start", "sample_rate": 1e999}', r"^sample_rate is Infinity: it must be"),
        (start(sample_rate=10**400), r"^sample_rate is 10{38}…: it must be"),
        (start(sample_rate={"a": 1}), r"^sample_rate is an object: it must be"),
        (start(channels=3), r"^channels is 3: it must be an integer from 1 to 2$"),
        (start(channels=None), r"^channels is null: it must be"),
        (start(sample_rat=8000), r'^unknown field "sample_rat": did you mean sample_rate\? known: version, encoding'),
        (start(latency=1), r'^unknown field "latency": known: version, encoding, sample_rate, channels, session, pos'),
        (start(session="../etc"), r'^session is "\.\./etc": it must be the session of an earlier ready$'),
        (start(session="s\n"), r'^session is "s\\n": it must be'),
        (start(session=""), r'^session is "": it must be'),
        (start(session="s" * 65), r'^session is "s{38}…: it must be'),
        (start(session="s", position=-1), r"^position is -1: it must be an integer from 0 to 9,007,199,254,740,991$"),
        (start(position=5), r"^position without session: a new session begins at 0; leave it out$"),
        (start(uri=""), r'^uri is "": it must be text of at most 200 characters, .*, and not empty$'),
        (start(uri="u" * 201), r'^uri is "u{38}…: it must be'),
        (start(options=[]), r"^options is an array: it must be an object$"),
        (start(options={"latency": 0.4}), r"^latency is 0\.4: it must be a number from 0\.5 to 5$"),
        (start(options={"latency": True}), r"^latency is true: it must be"),
        (start(options={"speakers": 2}), r'^unknown field "speakers": did you mean \w+_speakers\? known: latency'),
        (start(options={"num_speakers": 0}), r"^num_speakers is 0: it must be an integer from 1 to 1,000$"),
        (
            start(options={"num_speakers": 2, "min_speakers": 3}),
            r"^at least 3 and at most 2 speakers is impossible$",
        ),
        (start(options={"max_speakers": 2, "min_speakers": 3}), r"^at least 3 and at most 2 speakers is impossible$"),
        (
            '{"type": "rename", "name": "Ana"}',
            r"^speaker is missing: it must be a speaker's label, such as SPEAKER_01$",
        ),
        ('{"type": "rename", "speaker": "Ana", "name": "Bob"}', r'^speaker is "Ana": it must be a speaker\'s label'),
        ('{"type": "rename", "speaker": "SPEAKER_00\\n", "name": "B"}', r'^speaker is "SPEAKER_00\\n": it must be'),
        (rename("a" * 201), NO_NAME),
        (rename(" Ana"), NO_NAME),
        (rename("Ana\n"), NO_NAME),
        (rename("An\ta"), NO_NAME),
        (rename("An\u2028a"), NO_NAME),
        (rename("\u202eanA"), NO_NAME),
        (rename("\ud83d"), rf'^name is "\\ud83d": {NO_NAME}'),
        (rename("SPEAKER_01"), NO_NAME),
        (
            '{"type": "merge", "speaker": "SPEAKER_01", "into": "SPEAKER_01"}',
            r"^SPEAKER_01 cannot be merged into itself$",
        ),
        ('{"type": "end", "erase": 1}', r"^erase is 1: it must be true or false$"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as refused:
        parse(text)
    assert (refused.value.code, refused.value.fatal, refused.value.close) == ("bad_message", False, None)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("KeepAlive", "did you mean keepalive?"),
        ("Starts", "did you mean start?"),
        ("\ud800", "known: start, keepalive"),
    ],
)
def test_an_unknown_type_is_an_error_of_its_own(name: str, hint: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse(json.dumps({"type": name}))
    assert refused.value.code == "unknown_type"
    assert str(refused.value).startswith(f"unknown type {json.dumps(name)}: {hint}")


def test_text_without_end_is_not_read() -> None:
    longest = '{"type": "end"' + " " * (TEXT_LIMIT - 15) + "}"
    assert parse(longest) == End()
    with pytest.raises(ProtocolError, match=r"^16,385 characters of text; a message has at most 16,384$") as refused:
        parse(longest + " ")
    assert (refused.value.code, refused.value.close) == ("too_big", 1009)


def test_the_longest_message_fits() -> None:
    most = {"session": "s" * 64, "position": LAST_POSITION, "uri": "👩" * 200, "encoding": "f32le"}
    assert parse(start(**most)).uri == "👩" * 200  # type: ignore[union-attr]  # a Start
    assert len(start(**most)) < TEXT_LIMIT / 2


def test_before_ready_every_error_is_fatal() -> None:
    mild = ProtocolError("bad_message", "a field is there twice").before_ready()
    assert (mild.code, str(mild), mild.fatal, mild.close) == ("bad_message", "a field is there twice", True, 1003)
    grave = ProtocolError("full", "8 of 8 sessions")
    assert grave.before_ready() is grave
    assert ProtocolError("bad_state", "", close=1008).close == 1008


any_text = st.text(st.characters(codec=None))  # halves of characters too
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(any_text, inside, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(any_text | any_json.map(json.dumps) | st.builds(lambda junk: json.dumps({"type": junk}), any_json))
@example('{"type": "start", "options": ' + "[" * 500 + "]" * 500 + "}")
@example('{"type": ' + '{"a": ' * 500 + "1" + "}" * 501)
def test_nothing_but_a_protocol_error_comes_of_anything(text: str) -> None:
    try:
        read = parse(text)
    except ProtocolError as error:
        json.dumps(messages.error(error)).encode("utf-8")
    else:
        assert isinstance(read, ClientMessage)


WORDS = [
    "",
    "s16le",
    "s16le\n",
    "SPEAKER_00",
    "SPEAKER_0",
    "SPEAKER_00\n",
    "SPEAKER_٣٣",
    "SPEAKER_" + "0" * 6,
    "SPEAKER_" + "0" * 7,
]
WORDS += ["a" * 64, "a" * 65, "a" * 200, "a" * 201, "👩" * 200, "👩" * 201, "../a", "a\n", "a b", " a", "a ", "\u3000a"]
WORDS += [f"a{bad}b" for bad in "\0\n\x1f\x7f\x85\x9f\u2028\u2029\u202a\u202e\u2066\u2069\u200c\u200d\xa0"]
NUMBERS: list[float] = [0, 1, 2, 3, 1000, 1001, 3999, 4000, 192_000, 192_001, 2**53 - 1, 2**53, 10**400]
NUMBERS += [0.4, 0.5, 1.0, 1.5, 5.0, 5.1, 16e3, 1e300, 1e999]
EDGES: list[object] = [None, True, False, [], {}, *WORDS, *NUMBERS, *(-one for one in NUMBERS)]
FIELDS = sorted({"eof", "typo", *(field for _, known in TYPES.values() for field in known)})
near = st.dictionaries(st.sampled_from([*OPTIONS, "typo"]), st.sampled_from(EDGES), max_size=3)
nearly_valid = st.builds(
    lambda base, more, gone: {key: value for key, value in {**base, **more}.items() if key not in gone},
    st.sampled_from([json.loads(text) for text, _ in VALID]),
    st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(EDGES) | st.text(max_size=4) | near, max_size=2),
    st.sets(st.sampled_from([*FIELDS, "type"]), max_size=1),
)


def contradicts_itself(message: Message) -> bool:
    """What JSON schema cannot say: a merge with itself, and numbers of speakers."""
    if message.get("type") == "merge":
        return bool(message["speaker"] == message["into"])
    known = message.get("options", {})
    exact = known.get("num_speakers")
    least, most = max(exact or 1, known.get("min_speakers", 1)), min(exact or 1000, known.get("max_speakers", 1000))
    return bool(least > most)


def agreed(message: Message) -> None:
    """Hold what `parse` takes and what the schema takes together."""
    try:
        parse(json.dumps(message))
        taken = True
    except ProtocolError:
        taken = False
    assert taken == (CLIENT.is_valid(message) and not contradicts_itself(message)), message


@pytest.mark.parametrize(("text", "_message"), VALID)
def test_the_schema_and_the_code_agree_on_the_edges_of_every_field(text: str, _message: ClientMessage) -> None:
    valid = json.loads(text)
    for field in (*valid, "typo"):
        agreed({key: value for key, value in valid.items() if key != field})
        for value in EDGES:
            agreed({**valid, field: value})
    for option in valid.get("options", []):
        for value in EDGES:
            agreed({**valid, "options": {option: value}})


@settings(deadline=None, max_examples=300)
@given(nearly_valid)
def test_the_schema_and_the_code_agree_on_any_message(message: Message) -> None:
    agreed(message)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, Start()),
        ({"encoding": "f32le", "sample_rate": "48000", "channels": "2"}, Start(1, "f32le", 48_000, 2)),
        ({"latency": "2", "max_speakers": "4", "version": "1"}, Start(options=Options(2.0, max_speakers=4))),
        ({"session": "12", "position": "5", "uri": "true"}, Start(session="12", position=5, uri="true")),
    ],
)
def test_a_query_is_a_start(query: dict[str, str], expected: Start) -> None:
    assert start_from_query(query) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            {"sample_rate": "fast"},
            r'^in the query: sample_rate is "fast": it must be an integer from 4,000 to 192,000$',
        ),
        ({"sample_rate": ""}, r'^in the query: sample_rate is "": it must be'),
        ({"sample_rate": "16_000"}, r'^in the query: sample_rate is "16_000": it must be'),
        ({"latency": "NaN"}, r"^in the query: latency is NaN: it must be"),
        ({"channels": "[" * 9_000}, r'^in the query: channels is "\[{38}…: it must be'),
        ({"encoding": "16"}, r'^in the query: encoding is "16": it must be one of'),
        (
            {"options": "{}"},
            r'^in the query: unknown field "options": .*known: version, .*, uri, latency, num_speakers,',
        ),
        ({"letency": "1"}, r'^in the query: unknown field "letency": did you mean latency\? known: version'),
        ({"token": "secret"}, r'^in the query: unknown field "token": known: version'),
        ({"position": "1"}, r"^in the query: position without session"),
        (
            {"min_speakers": "3", "max_speakers": "2"},
            r"^in the query: at least 3 and at most 2 speakers is impossible$",
        ),
    ],
)
def test_a_wrong_query_is_named_too(query: dict[str, str], message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as refused:
        start_from_query(query)
    assert refused.value.code == "bad_message"
    assert "secret" not in str(refused.value)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, *OPTIONS, "token"]), any_text | st.sampled_from(EDGES).map(str), max_size=4
    )
)
def test_nothing_but_a_protocol_error_comes_of_any_query(query: dict[str, str]) -> None:
    try:
        assert isinstance(start_from_query(query), Start)
    except ProtocolError as error:
        json.dumps(messages.error(error)).encode("utf-8")


labels = st.integers(0, 120).map(lambda number: f"SPEAKER_{number:02d}")
names = st.none() | st.sampled_from(["Ana María", "Bob"])
scores = st.floats(-10, 10)
seconds = st.tuples(st.sampled_from(["Bob", "Ana"]), scores)
positions = st.integers(0, 10**9)
updates = st.builds(
    lambda id_, at, length, speaker, confidence, final: TurnUpdate(
        id_, at, at + length, speaker, None, confidence, final
    ),
    st.integers(0, 9),
    positions,
    st.integers(1, 10**6),
    labels,
    st.floats(0, 1),
    st.booleans(),
)
server_messages = st.one_of(
    st.builds(
        messages.ready,
        st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
        st.builds(Start, st.just(1), st.sampled_from(list(audio.ENCODINGS)), st.integers(LOWEST_RATE, HIGHEST_RATE)),
        resumed=st.booleans(),
        position=positions,
        latency=st.floats(0.5, 5),
        resumable=st.booleans(),
        message_bytes=st.integers(1, 2**30),
        idle_s=st.floats(0.1, 1000),
    ),
    st.builds(messages.segment, updates, names),
    st.builds(
        messages.revision,
        st.lists(
            st.builds(messages.change, updates, labels, names, st.sampled_from(get_args(messages.Reason)))
            | st.builds(
                lambda update, was: messages.change(replace(update, speaker=None), was, None, "final"), updates, labels
            ),
            min_size=1,
            max_size=3,
        ),
    ),
    st.builds(messages.speaker, labels, st.sampled_from(["new", "renamed"]), name=names),
    st.builds(messages.speaker, labels, st.just("merged"), name=names, into=labels),
    st.builds(messages.identified, labels, st.builds(Identity, names, scores, st.none() | seconds, st.text())),
    st.builds(messages.ack, positions),
    st.builds(messages.finalized, positions),
    st.builds(messages.warning, st.sampled_from(get_args(messages.Warned)), st.text()),
    st.builds(messages.error, st.builds(ProtocolError, st.sampled_from(list(CLOSE_CODES)), st.text())),
    st.builds(messages.done, positions, st.lists(st.tuples(labels, names, positions), max_size=3), st.text()),
)


@settings(deadline=None, max_examples=300)
@given(server_messages, st.integers(0, 2**53))
def test_what_is_built_fits_the_schema(message: Message, seq: int) -> None:
    sent = json.loads(json.dumps(messages.numbered(message, seq), allow_nan=False))
    SERVER.validate(sent)
    assert (list(sent)[:2], sent["seq"]) == (["type", "seq"], seq)
    assert not SERVER.is_valid(message), "what has no seq is not to be sent"
    for turn in sent.get("changes", [sent] if sent["type"] == "segment" else []):
        assert turn["start"] < turn["end"]
        assert all(value == round(value, 3) for value in (turn["start"], turn["end"], turn["confidence"]))


@settings(deadline=None, max_examples=50)
@given(st.lists(updates, unique_by=lambda update: update.id))
def test_segments_and_talk_time_are_those_of_the_rttm(turns: list[TurnUpdate]) -> None:
    rttm = format_rttm(turns_from(turns), "x")
    sent = [messages.segment(turn, None) for turn in turns]
    assert sorted((m["start"], m["end"], m["speaker"]) for m in sent) == sorted(spoken(rttm))
    heard = talk_time(turns_from(turns)).items()
    done = messages.done(0, [(label, None, samples) for label, samples in heard], rttm)
    assert [(one["speaker"], one["seconds"]) for one in done["speakers"]] == [
        (label, pytest.approx(samples / 16_000, abs=0.0006)) for label, samples in heard
    ]


def spoken(rttm: str) -> list[tuple[float, float, str]]:
    """Start, end and speaker of each line, in whole milliseconds."""
    lines = [line.split() for line in rttm.splitlines()]
    return [(float(f[3]), round(float(f[3]) + float(f[4]), 3), f[7]) for f in lines]


def test_a_withdrawn_turn_is_no_segment() -> None:
    with pytest.raises(ValueError, match=r"^turn 3 is withdrawn, which is a change of a revision$"):
        messages.segment(TurnUpdate(3, 0, 16, None, None, 0.5, final=True), None)


def words(*path: str) -> set[str]:
    """The values that the schema lists for a field."""
    at: Any = DEFINITIONS
    for key in path:
        at = at[key]
    return set(at["enum"])


def test_the_schema_is_one_and_knows_the_same_words() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert words("error", "properties", "code") == set(CLOSE_CODES)
    assert words("warning", "properties", "code") == set(get_args(messages.Warned))
    assert words("revision", "properties", "changes", "items", "properties", "reason") == set(get_args(messages.Reason))
    assert words("speaker", "properties", "event") == set(get_args(messages.Event))
    assert words("start", "properties", "encoding") == set(audio.ENCODINGS)
    for name, (kind, known) in TYPES.items():
        properties = DEFINITIONS[name]["properties"]
        assert set(properties) == {"type", *known}, name
        assert set(known) <= {field.name for field in fields(kind)}, name
        for field in fields(kind):
            assert "default" not in properties.get(field.name, {}) or properties[field.name]["default"] == field.default
    assert audio.LOWEST_RATE <= LOWEST_RATE < HIGHEST_RATE <= audio.HIGHEST_RATE


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every description of an object in a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for below in schema.values():
            yield from objects(below)


def test_no_message_has_a_field_beyond_the_schema() -> None:
    assert all(schema["additionalProperties"] is False for schema in objects(SCHEMA))
    assert all(set(DEFINITIONS[name]["required"]) == set(DEFINITIONS[name]["properties"]) for name in SENT)


SENT = [reference["$ref"].rpartition("/")[2] for reference in DEFINITIONS["server"]["oneOf"]]
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", DOCUMENT, re.MULTILINE | re.DOTALL))


def test_the_document_has_a_section_for_each_message() -> None:
    assert list(SECTIONS) == [*(name for name in TYPES if name != "CloseStream"), *SENT]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_names_every_field_and_word(name: str) -> None:
    named = set(re.findall(r"`([^`\n]+)`", SECTIONS[name]))
    for schema in objects(DEFINITIONS[name]):
        assert set(schema["properties"]) - {"type", "seq"} <= named
        for field, its in schema["properties"].items():
            if (name, field) != ("error", "code"):  # they have a table of their own
                assert {word for word in its.get("enum", []) if word != "none"} <= named
            if "maximum" in its:
                assert f"{its['minimum']:,} to {its['maximum']:,}" in SECTIONS[name]


def test_the_table_of_errors_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \| (\d*) ?\|", DOCUMENT, re.MULTILINE)
    assert {code: (fatal, close) for code, fatal, close in rows} == {
        code: ("no", "") if close is None else ("yes", str(close)) for code, close in CLOSE_CODES.items()
    }
    explained = set(re.findall(r"^\| (\d{4}) \|", DOCUMENT, re.MULTILINE))
    assert {str(close) for close in CLOSE_CODES.values() if close} | {"1000"} <= explained


def exchanges() -> Iterator[tuple[str, Message]]:
    """Every message in the document, with the side that sends it."""
    for side, block in re.findall(r"^```json (\w+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL):
        yield from ((side, json.loads(line)) for line in block.splitlines())


def test_every_message_in_the_document_is_one() -> None:
    assert "```json\n" not in DOCUMENT, "say whose it is"
    for side, message in exchanges():
        (CLIENT if side == "client" else SERVER).validate(message)
        if side == "client":
            parse(json.dumps(message))
    for bare in re.findall(r"`(\{.+?\})`", DOCUMENT):
        assert parse(bare) == End()


def test_the_exchange_keeps_the_rules() -> None:
    said = [message for side, message in exchanges() if side == "server"]
    said = said[: 1 + next(at for at, message in enumerate(said) if message["type"] == "done")]
    assert all(one["seq"] < next_["seq"] for one, next_ in pairwise(said))
    turns: dict[int, Message] = {}
    called: dict[str, str] = {}
    known: set[str] = set()
    for message in said:
        if message["type"] == "speaker":
            known.add(message["speaker"])
            called[message["speaker"]] = message["name"] or message["speaker"]
        for turn in message.get("changes", [message] if message["type"] == "segment" else []):
            assert turn.get("from") == (turns[turn["id"]]["label"] if "from" in turn else None)
            turns[turn["id"]] = {**turn, "label": turn.get("to", turn.get("speaker"))}
            assert turns[turn["id"]]["label"] in known
    done = said[-1]
    held = [(turn["start"], turn["end"], called[turn["label"]].replace(" ", "%20")) for turn in turns.values()]
    assert sorted(held) == spoken(done["rttm"])
    assert all(turn["state"] == "final" for turn in turns.values())
    for one in done["speakers"]:
        talk = sum(turn["end"] - turn["start"] for turn in turns.values() if turn["label"] == one["speaker"])
        assert one["seconds"] == pytest.approx(talk)


def test_the_python_client_runs(tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    (tmp_path / "client.py").write_text(program, encoding="utf-8")
    samples = np.arange(-20_000, 20_000, dtype=np.int16)
    soundfile.write(tmp_path / "x.wav", np.stack([samples, 0 * samples], axis=1), 8_000)
    answers = [message for side, message in exchanges() if side == "server" and message["seq"] <= 15][:15]
    began: list[ClientMessage] = []
    heard = bytearray()

    def session(connection: ServerConnection) -> None:
        began.append(parse(connection.recv(timeout=60, decode=True)))
        connection.send(json.dumps(answers[0]))
        while isinstance(frame := connection.recv(timeout=60), bytes):
            heard.extend(frame)
        began.append(parse(frame))
        for message in answers[1:]:
            connection.send(json.dumps(message))

    with serve(session, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/stream"
        command = [sys.executable, "-W", "error", "client.py", url, "x.wav"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, encoding="utf-8", check=False)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert began == [Start(sample_rate=8_000), End()]
    assert heard == samples.astype("<i2").tobytes()
    assert done.stdout == answers[-1]["rttm"]
    assert done.stderr.splitlines()[-1] == "11.482 16.682 SPEAKER_02"
