"""SRT and WebVTT, read back by another library; files of cues, labelled in place."""

from __future__ import annotations

import re
from io import StringIO

import pytest
import webvtt
from hypothesis import given, settings

from diarize.labels import labels
from diarize.rttm import Turn
from diarize.subtitles import (
    Cue,
    SubtitleError,
    format_srt,
    format_vtt,
    label_srt,
    label_vtt,
    read_cues,
    write_srt,
    write_vtt,
)
from tests.test_labels import turns

VTT = """\ufeffWEBVTT - a title\r
Kind: captions\r
\r
STYLE\r
::cue(v) { color: red }\r
\r
NOTE a remark,\r
of two lines\r
\r
intro\r
00:01.000 --> 00:02.500 align:start position:10%\r
<c.loud>Hello</c>\r
there\r
\r
00:00:03.000 --> 00:00:04.000\r
<v.loud Bob>Hi</v> <i>you</i> <v Ana>two</v>\r
\r
00:00:05.000 --> 00:00:06.000\r
\r
NOTE the end"""
SRT = """7
00:00:01,000 --> 00:00:02,500
Hello
there

9
0:0:3.500 --> 0:0:4.250
<i>Hi</i> 5 --> 6 you

11
00:00:05,000-->00:00:06,000
- no blanks"""


def milliseconds(time: webvtt.models.Timestamp) -> int:
    hours, minutes, seconds, rest = time.to_tuple()
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


def cues(captions: webvtt.WebVTT) -> list[tuple[int, int, str]]:
    return [(milliseconds(one.start_time), milliseconds(one.end_time), one.raw_text) for one in captions.captions]


@settings(deadline=None, max_examples=100)
@given(turns)
def test_another_reader_finds_every_cue(spoken: list[Turn]) -> None:
    expected = labels(spoken)
    srt, vtt = format_srt(spoken), format_vtt(spoken)
    arrowless = [(start, end, re.sub("-+>", "->", name)) for start, end, name in expected]
    assert (cues(webvtt.from_buffer(StringIO(srt), format="srt")) if srt else []) == arrowless
    read = webvtt.from_string(vtt)
    assert [one[:2] for one in cues(read)] == [label[:2] for label in expected]
    # the reader keeps character references; here is what a browser makes of them
    unescaped = [
        re.sub("&lt;", "<", re.sub("&gt;", ">", one.voice or "")).replace("&amp;", "&") for one in read.captions
    ]
    assert unescaped == [label.name for label in expected]


def test_what_is_written() -> None:
    spoken = [Turn(0, 24_000, "SPEAKER_00"), Turn(16_000, 16_001, "A&B <x>"), Turn(16_000 * 3600 * 101, 10**11, "late")]
    assert format_srt(spoken[:2]) == (
        "1\n00:00:00,000 --> 00:00:01,500\nSPEAKER_00\n\n2\n00:00:01,000 --> 00:00:01,001\nA&B <x>\n"
    )
    assert format_vtt(spoken[1:]) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:01.001\n<v A&amp;B &lt;x&gt;>A&amp;B &lt;x&gt;\n"
        "\n101:00:00.000 --> 1736:06:40.000\n<v late>late\n"
    )


def test_silence_is_valid() -> None:
    assert format_srt([]) == ""
    assert format_vtt([]) == "WEBVTT\n"
    assert webvtt.from_string(format_vtt([])).captions == []


def test_texts_with_names() -> None:
    said = [Cue(0, 1000, "Ana", "1 < 2 & 3 --> 4"), Cue(1000, 2000, None, "who?")]
    assert write_srt(said) == (
        "1\n00:00:00,000 --> 00:00:01,000\nAna: 1 < 2 & 3 -> 4\n\n2\n00:00:01,000 --> 00:00:02,000\nwho?\n"
    )
    assert write_vtt(said) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n<v Ana>1 &lt; 2 &amp; 3 --&gt; 4\n"
        "\n00:00:01.000 --> 00:00:02.000\nwho?\n"
    )


@pytest.mark.parametrize("text", [VTT, SRT, "", "WEBVTT", SRT.replace("\n", "\r"), "\n\n" + SRT + "\n\n\n"])
def test_the_parts_are_the_file(text: str) -> None:
    assert "".join(part.text for part in read_cues(text)) == text


def test_cues_are_found_where_another_reader_finds_them() -> None:
    for text, captions in ((VTT, webvtt.from_string(VTT)), (SRT, webvtt.from_buffer(StringIO(SRT), format="srt"))):
        found = [part.times for part in read_cues(text) if part.times]
        assert found == [one[:2] for one in cues(captions) if one[2]]
        assert found


def test_short_fields_and_numbers_left_out_are_taken() -> None:
    assert read_cues("0:3.5 --> 1:0:4,25\nHi")[-1] == ("Hi", (3500, 3_604_250))


def test_vtt_is_labelled_and_nothing_else_changes() -> None:
    labelled = label_vtt(read_cues(VTT), ["Ana & Co", None])
    assert labelled == VTT.replace("<c.loud>", "<v Ana &amp; Co><c.loud>").replace(
        "<v.loud Bob>Hi</v> <i>you</i> <v Ana>two</v>", "Hi <i>you</i> two"
    )
    assert label_vtt(read_cues(labelled), ["Ana & Co", None]) == labelled


def test_a_line_of_voice_tags_leaves_no_empty_line() -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Bob>\nHi\n</v>\n\n00:03.000 --> 00:04.000\n<v Bob></v>\n"
    assert label_vtt(read_cues(text), [None, None]) == text.replace("<v Bob>\nHi\n</v>\n", "Hi\n")


def test_srt_is_labelled_and_nothing_else_changes() -> None:
    names, known = ["SPEAKER_00", "An\na", None], ["SPEAKER_00", "An\na", "B", "B: C"]
    labelled = label_srt(read_cues(SRT), names, known)
    assert labelled == SRT.replace("Hello", "SPEAKER_00: Hello").replace("<i>Hi", "An a: <i>Hi")
    assert label_srt(read_cues(labelled), names, known) == labelled
    others: list[str | None] = [None, "B", "B: C"]
    relabelled = label_srt(read_cues(labelled), others, known)
    assert relabelled == SRT.replace("<i>Hi", "B: <i>Hi").replace("- no", "B: C: - no")
    assert label_srt(read_cues(relabelled), others, known) == relabelled


@pytest.mark.parametrize("times", ["00:01.000 -> 00:02.000", "1 and --> 2", "a --> b"])
def test_an_arrow_in_a_text_is_text(times: str) -> None:
    assert [part.text for part in read_cues(f"1\n00:00:01,000 --> 00:00:02,000\n{times}\n") if part.times] == [
        f"{times}\n"
    ]


@pytest.mark.parametrize(
    "times", ["00:00:01,000 --> ", "00:00:01 --> 00:00:02,000", "1 --> 2", "00:00:01,000 --> 00:00:02,0000", "1:2 -->x"]
)
def test_damaged_times_are_named(times: str) -> None:
    with pytest.raises(SubtitleError, match=r"^line 2: '.*' does not hold the times of a cue$"):
        read_cues(f"1\n{times}\nHello\n")
