"""Speakers put onto transcripts: against a count of every millisecond, and with everything else kept."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.rttm import Turn
from diarize.transcripts import Talk, TranscriptError, form_of, label_transcript, read_transcript, turns_of

MILLISECOND = 16
SECOND = 16_000
PAIR = [Turn(0, 2 * SECOND, "Ana"), Turn(2 * SECOND, 4 * SECOND, "Bob")]

spans = st.tuples(st.integers(0, 300), st.integers(0, 40)).map(lambda one: (one[0], one[0] + one[1]))
turns = st.lists(
    st.builds(
        lambda start, length, name: Turn(start * MILLISECOND, (start + length) * MILLISECOND, name),
        st.integers(0, 300),
        st.integers(1, 80),
        st.sampled_from(["Ana", "Bob", "Ana & Bob", ""]),
    ),
    max_size=8,
)


def counted(spoken: list[Turn], start: int, end: int, nearest: int) -> set[str | None]:
    """Who may be said to talk in [start, end), by going through every millisecond; several where they tie."""
    end = max(end, start + 1)
    talking = {at: {one.speaker for one in spoken if one.start <= at * MILLISECOND < one.end} for at in range(700)}
    heard = Counter(speaker for at in range(start, end) for speaker in talking[at])
    if heard:
        return {speaker for speaker, count in heard.items() if count == max(heard.values())}
    # so many silent milliseconds lie between a word and the nearest that is not
    for distance in range(nearest + 1 if nearest else 0):
        beside = talking.get(start - distance - 1, set()) | talking.get(end + distance, set())
        if beside:
            return set(beside)
    return {None}


@settings(deadline=None, max_examples=300)
@given(turns, spans, st.integers(0, 60))
def test_a_word_is_of_whoever_talks_most_in_it(spoken: list[Turn], span: tuple[int, int], nearest: int) -> None:
    talk = Talk(spoken, nearest / 1000)
    start, end = span
    # a word without length is a sample long, and this oracle knows no shorter time than a millisecond
    end = max(end, start + 1)
    assert talk.speaker(start * MILLISECOND, end * MILLISECOND) in counted(spoken, start, end, nearest)


def test_of_equals_who_had_the_first_turn() -> None:
    talk = Talk([Turn(0, 100, "a"), Turn(50, 100, "b"), Turn(100, 150, "b"), Turn(300, 400, "c")], 1)
    assert talk.speaker(60, 90) == "a"
    assert talk.speaker(50, 150) == "b"
    assert talk.speaker(200, 250) == "b"
    assert talk.speaker(100, 100) == "b"
    assert Talk([]).speaker(0, 100) is None


def test_the_nearest_turn_counts_within_the_limit_only() -> None:
    start, end = 5 * SECOND, 6 * SECOND
    assert Talk(PAIR, 1).speaker(start, end) == "Bob"
    assert Talk(PAIR, 0.999).speaker(start, end) is None
    assert Talk(PAIR, 0).speaker(4 * SECOND, end) is None
    assert Talk(PAIR, float("inf")).speaker(10**9, 10**9) == "Bob"


@pytest.mark.parametrize("nearest", [-1, float("nan"), -1e-9])
def test_a_limit_is_no_negative_number(nearest: float) -> None:
    with pytest.raises(ValueError, match=r"nearest turn cannot be looked for within .* s: give 0 or more seconds"):
        Talk(PAIR, nearest)


words = st.builds(
    lambda text, span, extra: (
        {"word": text} | ({} if span is None else {"start": span[0] / 1000, "end": span[1] / 1000}) | extra
    ),
    st.text(min_size=1, max_size=4),
    st.none() | spans,
    st.dictionaries(st.sampled_from(["score", "probability", "speaker"]), st.none() | st.floats(0, 1)),
)
segments = st.builds(
    lambda span, inside, extra: {"start": span[0] / 1000, "end": span[1] / 1000, "text": "x"} | extra | inside,
    spans,
    st.builds(lambda one: {"words": one}, st.lists(words, max_size=6)) | st.just({}),
    st.dictionaries(st.sampled_from(["id", "tokens", "speaker", "ü\ud800"]), st.lists(st.integers(), max_size=2)),
)
transcripts = st.builds(
    lambda some, extra: extra | {"segments": some},
    st.lists(segments, min_size=1, max_size=4),
    st.sampled_from([{"language": "en", "text": "x"}, {}]),
)


def without_speakers(content: Any) -> Any:
    """The same, the speakers of segments and words left out, in the same order."""
    if isinstance(content, dict):
        return [(key, without_speakers(value)) for key, value in content.items() if key != "speaker"]
    return [without_speakers(one) for one in content] if isinstance(content, list) else content


@settings(deadline=None, max_examples=150)
@given(transcripts, turns.filter(bool))
def test_all_else_is_kept_and_every_word_has_a_speaker(content: dict[str, Any], spoken: list[Turn]) -> None:
    text, talk = json.dumps(content), Talk(spoken, 1000)
    labelled = label_transcript(text, "json", talk)
    labelled.text.encode()  # can be written
    found = json.loads(labelled.text)
    assert without_speakers(found) == without_speakers(content)
    assert label_transcript(labelled.text, "json", talk) == labelled
    speakers = []
    for segment in found["segments"]:
        own = [word["speaker"] for word in segment.get("words", [])] or [segment["speaker"]]
        assert segment["speaker"] in own
        speakers += own
    assert tuple(speakers) == labelled.speakers
    assert None not in speakers  # the limit is longer than all of it


@settings(deadline=None, max_examples=100)
@given(turns.filter(bool), st.lists(spans, min_size=1, max_size=5), st.booleans())
def test_cues_of_a_file_get_what_words_get_and_are_labelled_once(
    spoken: list[Turn], times: list[tuple[int, int]], vtt: bool
) -> None:
    clock = "00:00:00{}{:03d} --> 00:00:00{}{:03d}"
    cues = [
        clock.format(".,"[1 - vtt], start, ".,"[1 - vtt], end) + f"\nword {at}\n\n"
        for at, (start, end) in enumerate(times)
    ]
    text, talk = ("WEBVTT\n\n" if vtt else "") + "".join(cues), Talk(spoken, 1000)
    labelled = label_transcript(text, "vtt" if vtt else "srt", talk)
    words = {"words": [{"word": "x", "start": start / 1000, "end": end / 1000} for start, end in times]}
    assert labelled.speakers == label_transcript(json.dumps(words), "json", talk).speakers
    assert label_transcript(labelled.text, "vtt" if vtt else "srt", talk) == labelled
    bare = labelled.text.replace("&amp;", "&")
    for name in ("Ana & Bob", "Ana", "Bob", "?"):
        bare = bare.replace(f"<v {name}>word", "word").replace(f"{name}: word", "word")
    assert bare == text


def speakers_of(content: dict[str, Any], talk: Talk) -> list[Any]:
    found = json.loads(label_transcript(json.dumps(content), "json", talk).text)
    return [one["speaker"] for one in found["words"]]


def test_words_without_times_take_the_time_between_their_neighbours() -> None:
    def word(start: float | None = None, end: float | None = None) -> dict[str, object]:
        return {"word": "x", "start": start, "end": end}

    talk = Talk(PAIR, 0)
    number = {"word": "2266"}
    assert speakers_of({"words": [word(0.1, 0.2), number, number, word(3.5, 3.6)]}, talk) == [
        "Ana",
        "Ana",
        "Ana",
        "Bob",
    ]
    assert speakers_of({"words": [word(1.9, 1.95), number, word(3, 3.5)]}, talk) == ["Ana", "Bob", "Bob"]
    assert speakers_of({"words": [number, word(3, 3.5), number]}, talk) == ["Bob"] * 3
    assert speakers_of({"words": [word(1, 2), number, word(2, 3)]}, talk) == ["Ana", "Ana", "Bob"]
    assert speakers_of({"words": [word(3, 3.5), word(float("nan"), float("nan"))]}, talk) == ["Bob", "Bob"]
    inside = {"segments": [{"start": 0, "end": 4, "text": "", "words": [number, word(0.4, 0.5), number]}]}
    found = json.loads(label_transcript(json.dumps(inside), "json", talk).text)["segments"][0]
    assert ([one["speaker"] for one in found["words"]], found["speaker"]) == (["Ana", "Ana", "Bob"], "Bob")


def test_a_segment_is_of_whoever_talks_longest_in_its_words() -> None:
    def spoken(*times: tuple[float, float]) -> dict[str, object]:
        return {"start": 0, "end": 4, "text": "", "words": [{"word": "x", "start": a, "end": b} for a, b in times]}

    content = {"segments": [spoken((0, 0.3), (0.5, 0.7), (3, 3.6)), spoken((0.1, 0.5), (3, 3.3)), spoken((9, 9.5))]}
    found = json.loads(label_transcript(json.dumps(content), "json", Talk(PAIR)).text)["segments"]
    assert [one["speaker"] for one in found] == ["Bob", "Ana", None]


WHISPER_CPP = {
    "systeminfo": "AVX = 1",
    "result": {"language": "en"},
    "transcription": [
        {
            "timestamps": {"from": "00:00:01,000", "to": "00:00:03,000"},
            "offsets": {"from": 1000, "to": 3000},
            "text": " I said fellow. No!",
            "tokens": [
                {"text": "[_BEG_]", "offsets": {"from": 1000, "to": 1000}, "id": 50363},
                {"text": " I", "offsets": {"from": 1000, "to": 1100}},
                {"text": " said", "offsets": {"from": 1100, "to": 1300}},
                {"text": " fel", "offsets": {"from": 1300, "to": 1400}},
                {"text": "low.", "offsets": {"from": 1400, "to": 1700}},
                {"text": " No!", "offsets": {"from": 2300, "to": 3000}},
            ],
        }
    ],
}


def test_whisper_cpp_is_read_in_milliseconds() -> None:
    found = json.loads(label_transcript(json.dumps(WHISPER_CPP), "json", Talk(PAIR)).text)["transcription"][0]
    assert found["speaker"] == "Ana"
    assert [token.get("speaker", "-") for token in found["tokens"]] == ["-", "Ana", "Ana", "Ana", "Ana", "Bob"]
    assert label_transcript(json.dumps(WHISPER_CPP), "json", Talk(PAIR), "srt").text == (
        "1\n00:00:01,000 --> 00:00:01,700\nAna: I said fellow.\n\n2\n00:00:02,300 --> 00:00:03,000\nBob: No!\n"
    )


def test_openai_has_words_beside_the_segments_and_whisperx_too() -> None:
    word = {"word": "Hi", "start": 3.0, "end": 3.2}
    content = {
        "segments": [{"start": 0, "end": 1, "text": "Hi", "tokens": [1, 2]}],
        "words": [word],
        "word_segments": [word],
    }
    labelled = label_transcript(json.dumps(content), "json", Talk(PAIR))
    assert labelled.speakers == ("Ana", "Bob", "Bob")
    found = json.loads(labelled.text)
    assert found["words"] == found["word_segments"] == [word | {"speaker": "Bob"}]


def cued(text: str, *said: tuple[str, float | None, float | None], nearest: float = 0) -> str:
    items = [{"word": word} | ({} if start is None else {"start": start, "end": end}) for word, start, end in said]
    content = {"segments": [{"start": 0.0, "end": 4.0, "text": text, "words": items}]}
    return label_transcript(json.dumps(content), "json", Talk(PAIR, nearest), "vtt").text.split("WEBVTT\n\n")[1]


def test_a_segment_becomes_a_cue_for_each_stretch_of_one_speaker() -> None:
    assert cued(' "Hi,  you" & <me>', ("Hi,", 0.5, 0.7), ("you", 0.7, 0.9), ("me", 1.1, 1.5)) == (
        '00:00:00.000 --> 00:00:04.000\n<v Ana>"Hi, you" &amp; &lt;me&gt;\n'
    )
    assert cued("Yes no yes", ("Yes", 0.5, 1), ("no", 2.5, 3), ("yes", 3.0, 3.5)) == (
        "00:00:00.500 --> 00:00:01.000\n<v Ana>Yes\n\n00:00:02.500 --> 00:00:03.500\n<v Bob>no yes\n"
    )


def test_a_segment_without_times_has_those_of_its_words_or_its_neighbours() -> None:
    word = {"word": "Hi", "start": 3.0, "end": 3.5}
    content = {"segments": [{"text": "Hi", "words": [word]}, {"text": "you"}, {"text": "two", "start": 3.7, "end": 4}]}
    assert label_transcript(json.dumps(content), "json", Talk(PAIR), "srt").text == (
        "1\n00:00:03,000 --> 00:00:03,500\nBob: Hi\n\n2\n00:00:03,500 --> 00:00:03,700\nBob: you\n\n"
        "3\n00:00:03,700 --> 00:00:04,000\nBob: two\n"
    )


def test_words_of_nobody_go_with_those_beside_them() -> None:
    said = [("a", 5.0, 5.1), ("b", 0.5, 1.0), ("c", 6.0, 6.1), ("d", 3.0, 3.5), ("e", 7.0, 7.1)]
    assert [line for line in cued("a b c d e", *said).splitlines() if "<v" in line] == ["<v Ana>a b c", "<v Bob>d e"]


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ("你好再见", ["你", "好", "再", "见"], ["你好", "再见"]),  # no spaces
        ("ten of them", ["10", "of", "us", "go"], ["10 of", "us go"]),  # other words than the text
        ("", [" ten", " of", " th", "em"], ["ten of", "them"]),  # no text
    ],
)
def test_the_text_of_a_segment_is_shared_out(text: str, said: list[str], expected: list[str]) -> None:
    times = [(0.5, 1.0), (1.0, 1.5), (2.5, 3.0), (3.0, 3.5)]
    lines = cued(text, *((word, *time) for word, time in zip(said, times, strict=True))).splitlines()
    assert [line for line in lines if "<v" in line] == [f"<v Ana>{expected[0]}", f"<v Bob>{expected[1]}"]


def test_an_empty_transcript_stays_empty() -> None:
    assert json.loads(label_transcript('{"segments": []}', "json", Talk(PAIR)).text) == {"segments": []}
    assert label_transcript('{"segments": []}', "json", Talk(PAIR), "srt").text == ""
    assert label_transcript("WEBVTT\n", "vtt", Talk(PAIR)).text == "WEBVTT\n"


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("json", "", "the file is empty"),
        ("srt", "\ufeff\r\n \n", "the file is empty"),
        ("json", "[1, 2", r"line 1: not JSON: Expecting ',' delimiter"),
        ("json", "[" * 100_000, "not JSON that can be read: "),
        ("json", '{"segments": ' + "1" * 5000 + "}", "not JSON that can be read: "),
        ("json", "[]", r'not a transcript: expected JSON as \{"segments": '),
        ("json", '"text"', "not a transcript"),
        ("json", '{"text": "Hello"}', "not a transcript"),
        ("json", '{"segments": {"start": 1}}', "not a transcript"),
        ("json", '{"segments": [{"text": "x"}]}', "no word and no segment has a start and an end"),
        (
            "json",
            '{"words": [{"word": "x", "start": "1", "end": 1e99}]}',
            "no word and no segment has a start and an end",
        ),
        ("json", '{"segments": [{"start": 9, "end": 10, "text": "x"}]}', "nobody talks where anything is said"),
        ("srt", "Hello\n", "it has no cue with times"),
        ("srt", "WEBVTT\n\n00:01.000 --> 00:02.000\nHi\n", "not SRT: WebVTT, and only that, begins with WEBVTT"),
        ("vtt", "1\n00:00:01,000 --> 00:00:02,000\nHi\n", "not VTT: WebVTT, and only that, begins with WEBVTT"),
        ("vtt", "WEBVTT\n\n00:01 --> 00:02\nHi\n", "line 3: '00:01 --> 00:02' does not hold the times of a cue"),
        ("srt", "1\n00:00:09,000 --> 00:00:10,000\nHi\n", "nobody talks where anything is said"),
    ],
)
def test_what_cannot_be_labelled_is_said_in_one_line(form: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as error:
        label_transcript(text, form, Talk(PAIR))
    assert "\n" not in str(error.value)


def test_words_alone_become_no_cues() -> None:
    text = json.dumps({"words": [{"word": "x", "start": 1, "end": 2}]})
    with pytest.raises(TranscriptError, match="no segments, which become the cues of srt: label it as JSON"):
        label_transcript(text, "json", Talk(PAIR), "srt")


def test_the_recording_is_the_one_of_the_same_name_or_the_only_one() -> None:
    several = {"talk": PAIR, "talk.en": PAIR[:1], "other": []}
    for name in ("talk.json", "x/talk.wav.json", "talk.de.srt"):
        assert turns_of(name, several) is several["talk"]
    assert turns_of("talk.en.vtt", several) is several["talk.en"]
    assert turns_of("what.json", {"talk": PAIR}) is PAIR
    with pytest.raises(
        TranscriptError, match=r"^the RTTM has no recording named 'a.talk': it has other, talk, talk.en$"
    ):
        turns_of("a.talk.json", several)
    with pytest.raises(TranscriptError, match=r"^the RTTM has no recording named 'talk': nobody talks in it$"):
        turns_of("talk.json", {})


@pytest.mark.parametrize("name", ["talk.txt", "talk", ".json", "talk.rttm"])
def test_another_suffix_is_refused(name: str) -> None:
    with pytest.raises(TranscriptError, match=r"the name of a transcript must end in .json, .srt or .vtt"):
        form_of(name)
    assert form_of("Talk.JSON") == "json"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_as_it_is(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x").write_bytes("a\r\nžluť\r".encode(encoding))
    assert read_transcript(tmp_path / "x").removeprefix("\ufeff") == "a\r\nžluť\r"


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a\ncaf\xe9\n")
    with pytest.raises(TranscriptError, match=r"^line 2: not text in UTF-8; save it as UTF-8$"):
        read_transcript(tmp_path / "x")
