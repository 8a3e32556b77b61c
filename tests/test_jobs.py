"""Several recordings side by side."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest
from rich.console import Console

from diarize.formats import FORMATS, Diarization
from diarize.jobs import run
from diarize.orders import Order, Outcome, plan
from diarize.pipeline import PipelineConfig, SpeakerDiarization
from tests.command import DIARIZE, write_clip


@pytest.fixture(scope="module")
def diarization() -> SpeakerDiarization:
    return SpeakerDiarization(PipelineConfig())


def done(orders: list[Order], diarization: SpeakerDiarization, workers: int) -> list[Outcome]:
    """All outcomes, in the order of their inputs."""
    found = list(run(orders, diarization, workers=workers, console=Console(stderr=True)))
    return sorted(found, key=lambda outcome: outcome.order.input)


def test_side_by_side_gives_the_same_bytes(tmp_path: Path, diarization: SpeakerDiarization) -> None:
    inputs = [str(write_clip(tmp_path / f"{seconds}.wav", seconds)) for seconds in (7, 8)]
    broken = tmp_path / "broken.wav"
    broken.write_text("no audio\n")
    results = []
    for workers in (1, 2):
        out = tmp_path / f"by {workers}"
        outcomes = done(plan([*inputs, str(broken)], str(out), ["json"]), diarization, workers)
        assert [outcome.error for outcome in outcomes[:2]] == [None, None]
        assert str(outcomes[2].error).startswith(f"{broken}: is in no known audio format")
        results.append({file.name: file.read_bytes() for file in out.iterdir()})
    assert sorted(results[0]) == ["7.json", "8.json"]
    assert results[0] == results[1]


def test_a_worker_that_dies_costs_its_recordings_only(tmp_path: Path, diarization: SpeakerDiarization) -> None:
    inputs = [str(write_clip(tmp_path / f"{name}.wav", 60)) for name in "abc"]
    outcomes = run(plan(inputs, str(tmp_path / "out")), diarization, workers=2, console=Console())
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diarize.engines.local.as_completed", killing_first)
        found = list(outcomes)
    assert {str(outcome.error) for outcome in found} == {
        f"{name}: a worker died (out of memory?); use fewer --jobs" for name in inputs
    }
    assert list((tmp_path / "out").iterdir()) == []


def killing_first(waiting: list[object]) -> list[object]:
    """In place of `as_completed`: the system kills the workers at once."""
    for worker in active_children():
        worker.kill()
        worker.join()
    return list(waiting)


def test_an_unexpected_fault_in_one_recording_does_not_stop_the_others(
    tmp_path: Path, diarization: SpeakerDiarization, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = write_clip(tmp_path / "good.wav", 2), write_clip(tmp_path / "wrong.wav", 2)
    rttm = FORMATS["rttm"]

    def faulty(result: Diarization) -> str:
        if result.uri == "wrong":
            raise KeyError("surprise")
        return rttm.write(result)

    monkeypatch.setitem(FORMATS, "rttm", replace(rttm, write=faulty))
    outcomes = done(plan([str(bad), str(good)], str(tmp_path)), diarization, 1)
    assert [outcome.error for outcome in outcomes] == [None, f"{bad}: unexpected KeyError: 'surprise'"]
    assert (tmp_path / "good.rttm").exists()


def test_a_disk_that_fills_up_costs_one_output(
    tmp_path: Path, diarization: SpeakerDiarization, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "a.wav", 2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    (outcome,) = done(plan([str(clip)], str(tmp_path / "a.rttm")), diarization, 1)
    assert outcome.error == f"{tmp_path}/a.rttm: No space left on device; make room, or choose another place"
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    inputs = [write_clip(tmp_path / f"{name}.wav", 60) for name in "ab"]
    running = subprocess.Popen(
        [*DIARIZE, "file", *inputs, "-o", tmp_path / "out", "--jobs", "2"], stderr=subprocess.PIPE
    )
    while not (tmp_path / "out").exists():
        assert running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.communicate(timeout=60)  # their standard error ends when the last worker has
    assert list((tmp_path / "out").iterdir()) == []
