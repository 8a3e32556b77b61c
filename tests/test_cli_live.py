"""The live commands as their users meet them: reports, refusals, exit codes."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch

from diarize.models.checkpoints import write_checkpoint
from diarize.models.powerset import PowersetConfig, PowersetNetwork
from diarize.models.segmenter import SEGMENTERS
from tests.command import SAMPLE, Done, here, write_clip

Capture = pytest.CaptureFixture[str]
REFERENCE = SAMPLE.with_suffix(".rttm")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of short recordings, a.wav and [b].wav, with a reference of both, and broken.wav that is none."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a.wav", 7)
    write_clip(folder / "[b].wav", 9)
    (folder / "broken.wav").write_text("no audio\n")
    lines = [
        f"SPEAKER {uri} 1 0.5 4.5 <NA> <NA> x <NA> <NA>\nSPEAKER {uri} 1 5 {end - 5} <NA> <NA> y <NA> <NA>\n"
        for uri, end in [("a", 7), ("[b]", 9)]
    ]
    (folder / "both.rttm").write_text("".join(lines))
    return folder


def simulated(capfd: Capture, *args: str | Path) -> dict[str, Any]:
    """What `diarize simulate-live ... --json` prints."""
    done = here(capfd, "simulate-live", *args, "--json")
    assert (done.code, done.err) == (0, "")
    return dict(json.loads(done.out))


def rows(out: str) -> dict[str, list[str]]:
    """The lines of a table by their first word."""
    return {words[0]: words[1:] for line in out.splitlines() if (words := line.split())}


def test_a_recording_heard_live_is_reported_as_a_table(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLE.parent)
    done = here(capfd, "simulate-live", "conversation.flac", "--reference", "conversation.rttm", "--latency", "2")
    assert (done.code, done.err) == (0, "")
    told = [float(cell) for cell in rows(done.out)["conversation.flac"]]
    first, revised, flips, false, strict, strict_final, lenient, lenient_final = told
    assert 1 < first <= 2
    assert 0 < revised <= 100
    assert flips > 0
    assert false == int(false)
    assert abs(strict - strict_final) < 10
    assert abs(lenient - lenient_final) < 10
    assert 0 <= lenient_final < strict_final < 30
    assert "when the audio was 2 s beyond it" in done.out


def test_several_recordings_and_all_of_them(clips: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clips)
    done = here(capfd, "simulate-live", "a.wav", "[b].wav")
    assert (done.code, done.err) == (0, "")
    told = {name: cells for name, cells in rows(done.out).items() if len(cells) == 4 and name != "recording"}
    assert list(told) == ["a.wav", "[b].wav", "all"]
    assert max(float(told[name][0]) for name in ("a.wav", "[b].wav")) == float(told["all"][0])
    assert "DER" not in done.out


def test_json_says_the_same_of_each_and_of_all(clips: Path, capfd: Capture) -> None:
    said = simulated(capfd, clips / "a.wav", clips / "[b].wav", "--reference", clips / "both.rttm", "--latency", "0.5")
    assert said["latency"] == 0.5
    a, b = said["recordings"][str(clips / "a.wav")], said["recordings"][str(clips / "[b].wav")]
    assert (a["audio_s"], b["audio_s"], said["total"]["audio_s"]) == (7, 9, 16)
    assert 0 < a["first_label_s"] <= 0.5
    assert said["total"]["shown_s"] == pytest.approx(a["shown_s"] + b["shown_s"])
    for name in ("provisional", "final"):
        errors = [one[name]["strict"]["miss_s"] for one in (a, b, said["total"])]
        assert errors[2] == pytest.approx(errors[0] + errors[1], abs=0.01)
        assert said["total"][name]["strict"]["speech_s"] == pytest.approx(6.5 + 8.5)
    assert simulated(capfd, clips / "a.wav")["recordings"][str(clips / "a.wav")]["final"] is None


def test_one_recording_and_one_reference_belong_together_whatever_their_names(clips: Path, capfd: Capture) -> None:
    said = simulated(capfd, clips / "a.wav", "--reference", REFERENCE, "--num-speakers", "1")
    assert said["total"]["final"]["reference_speakers"] == 4
    assert said["total"]["final"]["hypothesis_speakers"] == 1


def test_what_cannot_be_heard_is_told_and_the_rest_is_reported(
    clips: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clips)
    done = here(capfd, "simulate-live", "a.wav", "broken.wav", "nowhere.wav", "--reference", "both.rttm")
    assert done.code == 1
    broken, nowhere = done.err.splitlines()
    assert broken.startswith("error: broken.wav: is in no known audio format")
    assert nowhere == "error: nowhere.wav: no such file; check the name"
    assert len(rows(done.out)["a.wav"]) == 8
    assert here(capfd, "simulate-live", "broken.wav") == Done(1, "", f"{broken}\n")


def test_a_recording_without_a_reference_is_told(clips: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clips)
    (clips / "other.rttm").write_text("SPEAKER a 1 0 1 <NA> <NA> x <NA> <NA>\n")
    done = here(capfd, "simulate-live", "a.wav", "[b].wav", "--reference", "other.rttm")
    assert done.code == 1
    assert (
        done.err == "error: no reference for '[b]': the names inside the RTTM files must be those of the recordings\n"
    )
    assert len(rows(done.out)["a.wav"]) == 8


def test_a_segmentation_network_beside_the_vad(
    clips: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has learnt nothing, and with these settings hears everybody all the time."""
    sizes = {"channels": 16, "blocks": 1, "heads": 2}
    torch.manual_seed(0)
    write_checkpoint(
        PowersetNetwork(PowersetConfig(**sizes)), tmp_path / "model.safetensors", {"network": json.dumps(sizes)}
    )
    monkeypatch.setitem(SEGMENTERS, "powerset", tmp_path / "model.safetensors")
    options = ["--set", "segmentation.onset=0.05", "--set", "segmentation.offset=0.05"]
    said = simulated(capfd, clips / "a.wav", "--segmentation", *options)
    assert said["total"]["shown_s"] == 7
    assert said["total"]["first_label_s"] == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("simulate-live", "Missing argument 'FILE...'; see diarize simulate-live --help"),
        ("simulate-live a.wav --latency 9", "live.latency is 9.0 s: give 0.5 to 5"),
        ("simulate-live a.wav --latency soon", "Invalid value for '--latency': *; see diarize simulate-live --help"),
        ("simulate-live a.wav --reference x", "x: No such file or directory; check the name"),
        ("simulate-live a.wav --reference a.wav", "a.wav, line 1: *"),
        ("simulate-live a.wav --set online.bufer=5", "unknown setting online.bufer: did you mean online.buffer?"),
        (
            "simulate-live a.wav --latency 0.5 --set vad.min_on=0.4",
            "live.latency is 0.5 s, but with these settings the *",
        ),
        ("simulate-live a.wav --set segmentation.model=x", "unknown segmentation network 'x': *"),
        ("simulate-live a.wav --model x", "unknown model 'x': neither a file or folder nor one of ecapa-tdnn-c256"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(
    clips: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.chdir(clips)
    done = here(capfd, *line.split())
    assert (done.code, done.out) == (2, "")
    assert fnmatchcase(done.err, f"error: {message}\n")
