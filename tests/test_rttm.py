from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diarize.rttm import RttmError, Turn, format_rttm, newest, read_rttm, read_rttms, read_uem, talk_time, turns_from
from diarize.types import SAMPLE_RATE, Identity, TurnUpdate

MILLISECOND = 16
names = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    [
        "Ana Maria",
        "",
        "<NA>",
        "100%",
        "a%20b",
        "%",
        "a\tb\r\nc",
        "\u00a0",
        "\u2028",
        "李小龙",
        ";;",
        '"x',
        "\udcff",
        "\x00\x1c",
    ]
)


@st.composite
def turns(draw: st.DrawFn, unit: int = 1) -> list[Turn]:
    """Turns whose times are multiples of `unit`."""
    times = st.tuples(st.integers(0, 10**9 // unit), st.integers(1, 10**6))
    spans = draw(st.lists(times, max_size=5))
    return sorted(Turn(start * unit, (start + length) * unit, draw(names)) for start, length in spans)


def read(tmp_path_factory: pytest.TempPathFactory, text: str) -> dict[str, list[Turn]]:
    path = tmp_path_factory.mktemp("rttm") / "file.rttm"
    path.write_bytes(text.encode())
    return read_rttm(path)


def update(number: int, start: int, end: int, speaker: str | None, name: str | None = None) -> TurnUpdate:
    identity = Identity(name, 0.7, None, "near enough") if name else None
    return TurnUpdate(number, start, end, speaker, identity, 0.9, final=True)


@settings(deadline=None, max_examples=200)
@given(spoken=turns(unit=MILLISECOND), uri=names)
def test_what_was_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, spoken: list[Turn], uri: str) -> None:
    assert read(tmp_path_factory, format_rttm(spoken, uri)) == ({uri: spoken} if spoken else {})


@settings(deadline=None, max_examples=200)
@given(spoken=turns(), uri=names)
def test_every_line_has_ten_fields_for_any_reader(spoken: list[Turn], uri: str) -> None:
    text = format_rttm(spoken, uri)
    lines = text.splitlines()  # also at Unicode's line separators
    assert len(lines) == len(spoken) == text.count("\n")
    for line in lines:
        fields = line.split()
        assert len(fields) == len(line.split(" ")) == 10
        assert fields[0] == "SPEAKER"
        assert float(fields[4]) > 0
        assert all(len(time.split(".")[1]) == 3 for time in fields[3:5])


def test_channels_are_the_speakers_and_else_1() -> None:
    text = format_rttm([Turn(0, 160, "a b"), Turn(160, 320, "c")], "x", {"a b": 2, "d": 3})
    assert [line.split()[2:4] for line in text.splitlines()] == [["2", "0.000"], ["1", "0.010"]]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(MILLISECOND, 40_000), min_size=2, max_size=20), st.integers(0, 10**9))
def test_rounding_moves_nothing_far_and_makes_no_overlap(lengths: list[int], start: int) -> None:
    spoken = []
    for length in lengths:
        spoken.append(Turn(start, start + length, "a"))
        start += length
    end_before = 0
    for turn, line in zip(spoken, format_rttm(spoken, "x").splitlines(), strict=True):
        first, duration = (int(field.replace(".", "")) for field in line.split()[3:5])
        assert first >= end_before
        assert abs(first - turn.start / MILLISECOND) <= 0.5
        assert abs(first + duration - turn.end / MILLISECOND) <= 0.5
        end_before = first + duration


def test_a_turn_of_one_sample_still_lasts() -> None:
    assert format_rttm([Turn(20, 21, "a")], "x") == "SPEAKER x 1 0.001 0.001 <NA> <NA> a <NA> <NA>\n"


def test_the_lines_are_what_the_field_writes() -> None:
    spoken = [Turn(3 * SAMPLE_RATE, 3 * SAMPLE_RATE + 8000, "Zoë"), Turn(0, 24_000, "Ana Maria")]
    assert format_rttm(spoken, "my meeting") == (
        "SPEAKER my%20meeting 1 0.000 1.500 <NA> <NA> Ana%20Maria <NA> <NA>\n"
        "SPEAKER my%20meeting 1 3.000 0.500 <NA> <NA> Zoë <NA> <NA>\n"
    )


def test_no_speech_is_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "silence.rttm").write_text(format_rttm([], "silence"))
    assert (tmp_path / "silence.rttm").read_bytes() == b""
    assert read_rttm(tmp_path / "silence.rttm") == {}


# behind a letter, since readers built on pandas take a few words, such as NA and null, for no name at all
visible = names.map(lambda name: "_" + name.encode(errors="ignore").decode()) | st.just('"quoted" name')


@settings(deadline=None, max_examples=50)
@given(spoken=turns(unit=MILLISECOND).filter(bool), uri=visible, speaker=visible)
def test_pyannote_reads_the_same_turns(
    tmp_path_factory: pytest.TempPathFactory, spoken: list[Turn], uri: str, speaker: str
) -> None:
    from pyannote.database.util import load_rttm

    spoken = [Turn(turn.start, turn.end, speaker) for turn in spoken]
    path = tmp_path_factory.mktemp("rttm") / "file.rttm"
    path.write_bytes(format_rttm(spoken, uri).encode())
    ((_, annotation),) = load_rttm(path).items()  # type: ignore[no-untyped-call]  # pyannote annotates only a part
    heard = [time for segment, _ in annotation.itertracks() for time in (segment.start, segment.end)]
    assert len(annotation.labels()) == 1
    assert heard == pytest.approx([time / SAMPLE_RATE for turn in spoken for time in (turn.start, turn.end)])


def test_the_reference_files_of_the_field_are_read(speech: Path) -> None:
    files = sorted((speech / "conversations").glob("*.rttm"))
    assert files
    for file in files:
        lines = [line.split() for line in file.read_text().splitlines()]
        ((uri, spoken),) = read_rttm(file).items()
        assert uri == file.stem
        assert len(spoken) == len(lines)
        durations = sum(turn.end - turn.start for turn in spoken) / SAMPLE_RATE
        assert durations == pytest.approx(sum(float(fields[4]) for fields in lines), abs=0.001 * len(lines))


@pytest.mark.parametrize(
    "data",
    [
        b";; a comment\n\nSPEAKER x 1 1.0 0.5 <NA> <NA> a <NA> <NA>\n",
        b"SPEAKER\tx\t1\t1.0\t0.5\t<NA>\t<NA>\ta\t<NA>\t<NA>",
        b"\xef\xbb\xbfSPEAKER x 1 1.0 0.5 <NA> <NA> a <NA> <NA>\r\n",
        b"SPEAKER x 1   1e0 .5 <NA> <NA> a <NA>   \r;;\r",
        b"SPKR-INFO x 1 <NA> <NA> <NA> unknown a <NA> <NA>\nSPEAKER x 1 1 0.5 <NA> <NA> a <NA> <NA>\nLEXEME x\n",
        b"SPEAKER x 1 1 0.5 <NA> <NA> a <NA> <NA>\nSPEAKER x 1 7 0.0 <NA> <NA> b <NA> <NA>\n",
        "SPEAKER x 1 1 0.5 <NA> <NA> a <NA> <NA>\n".encode("utf-16"),
    ],
    ids=["comment", "tabs", "byte order mark", "nine fields", "other types", "no length", "PowerShell"],
)
def test_what_is_tolerated(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.rttm").write_bytes(data)
    assert read_rttm(tmp_path / "x.rttm") == {"x": [Turn(16_000, 24_000, "a")]}


def test_names_of_other_tools_are_kept(tmp_path: Path) -> None:
    (tmp_path / "x.rttm").write_text("SPEAKER 5%FF 1 0 1 <NA> <NA> 100%\u00a0sure <NA> <NA>\n", encoding="utf-8")
    assert read_rttm(tmp_path / "x.rttm") == {"5%FF": [Turn(0, 16_000, "100%\u00a0sure")]}


def test_recordings_are_kept_apart_and_sorted(tmp_path: Path) -> None:
    text = (
        format_rttm([Turn(16, 32, "b")], "two")
        + format_rttm([Turn(48, 64, "a")], "one")
        + format_rttm([Turn(0, 16, "c")], "two")
    )
    (tmp_path / "x.rttm").write_text(text)
    assert read_rttm(tmp_path / "x.rttm") == {"two": [Turn(0, 16, "c"), Turn(16, 32, "b")], "one": [Turn(48, 64, "a")]}


def test_a_folder_is_read_as_one(tmp_path: Path) -> None:
    for uri, spoken in {"one": [Turn(0, 16, "a")], "two": [Turn(16, 32, "b")], "silence": []}.items():
        (tmp_path / f"{uri}.rttm").write_text(format_rttm(spoken, uri))
    (tmp_path / "notes.txt").write_text("no RTTM")
    assert read_rttms(tmp_path) == {"one": [Turn(0, 16, "a")], "two": [Turn(16, 32, "b")], "silence": []}
    assert read_rttms(tmp_path / "silence.rttm") == {"silence": []}


def test_a_folder_s_files_must_be_of_different_recordings(tmp_path: Path) -> None:
    with pytest.raises(RttmError, match=r"no file in this folder has a name that ends in \.rttm"):
        read_rttms(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.rttm").write_text(format_rttm([Turn(0, 16, "a")], "one"))
    with pytest.raises(RttmError, match=r"b\.rttm: the recording 'one' is in another file"):
        read_rttms(tmp_path)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"SPEAKER my meeting 1 1.0 0.5 <NA> <NA> a <NA> <NA>", "expected 10 fields, got 11"),
        (b"SPEAKER x 1 1.0", "expected 10 fields, got 4"),
        (b"SPEAKER x 1 one 0.5 <NA> <NA> a <NA> <NA>", "start 'one' is not a number"),
        (b"SPEAKER x 1 1,5 0.5 <NA> <NA> a <NA> <NA>", "start '1,5' is not a number"),
        (b"SPEAKER x 1 1.0 -0.5 <NA> <NA> a <NA> <NA>", "duration -0.5 is not"),
        (b"SPEAKER x 1 -1.0 0.5 <NA> <NA> a <NA> <NA>", "start -1.0 is not"),
        (b"SPEAKER x 1 nan 0.5 <NA> <NA> a <NA> <NA>", "start nan is not"),
        (b"SPEAKER x 1 1.0 1e300 <NA> <NA> a <NA> <NA>", "duration 1e300 is not"),
        (b"RIFF\x00\x01 is a sound", "'RIFF"),
        (b"caf\xe9", "not text in UTF-8"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(tmp_path: Path, line: bytes, what: str) -> None:
    path = tmp_path / "bad.rttm"
    path.write_bytes(b";; first line\nSPEAKER x 1 0 1 <NA> <NA> a <NA> <NA>\n" + line + b"\n")
    with pytest.raises(RttmError) as error:
        read_rttm(path)
    assert str(error.value).startswith(f"{path}, line 3: ")
    assert what in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("reader", [read_rttm, read_uem])
def test_what_cannot_be_read_is_an_oserror(tmp_path: Path, reader: object) -> None:
    assert callable(reader)
    with pytest.raises(FileNotFoundError):
        reader(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        reader(tmp_path)


def test_uem_gives_the_stretches_by_time(tmp_path: Path) -> None:
    (tmp_path / "x.uem").write_text(";; scored\nx 1 5.0 6.25\ny%20z NA 0 1\nx 1 0.000 2\n")
    assert read_uem(tmp_path / "x.uem") == {"x": [(0, 32_000), (80_000, 100_000)], "y z": [(0, 16_000)]}


@pytest.mark.parametrize(
    ("line", "what"),
    [("x 1 0", "got 3"), ("x 1 2 1", "the end 1 is not after"), ("x 1 a 1", "start 'a'"), ("x 1 0 inf", "end inf")],
)
def test_uem_says_what_is_wrong(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / "bad.uem").write_text(f"\n{line}\n")
    with pytest.raises(RttmError, match=what) as error:
        read_uem(tmp_path / "bad.uem")
    assert str(error.value).startswith(f"{tmp_path / 'bad.uem'}, line 2: ")


def test_the_newest_update_of_each_turn_holds() -> None:
    updates = [
        update(1, 50, 60, "B"),
        update(2, 0, 10, "A"),
        update(3, 20, 30, "C"),
        update(2, 0, 12, "A", name="Ana Maria"),
        update(3, 20, 30, None),
        update(1, 40, 60, "A"),
    ]
    assert newest(updates) == [updates[3], updates[5]]
    assert turns_from(updates) == [Turn(0, 12, "Ana Maria"), Turn(40, 60, "A")]


@pytest.mark.parametrize(("start", "end"), [(5, 5), (6, 5), (-1, 5)])
def test_a_turn_has_a_length_and_starts_within_the_recording(start: int, end: int) -> None:
    with pytest.raises(ValueError, match=rf"got \[{start}, {end}\)"):
        Turn(start, end, "a")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10), st.sampled_from("abc")), max_size=12))
def test_talk_time_counts_each_moment_of_a_speaker_once(spans: list[tuple[int, int, str]]) -> None:
    spoken = [Turn(start, start + length, speaker) for start, length, speaker in spans]
    moments = {(speaker, at) for start, length, speaker in spans for at in range(start, start + length)}
    expected = {speaker: sum(who == speaker for who, _ in moments) for speaker in "abc"}
    assert talk_time(spoken) == {speaker: heard for speaker, heard in expected.items() if heard}
    assert list(talk_time(spoken)) == list(dict.fromkeys(turn.speaker for turn in sorted(spoken)))
