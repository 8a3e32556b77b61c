"""Orders done on a Ray cluster: a real one on this machine, whose workers die."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from diarize import __version__
from diarize.engines import ray as engine
from diarize.inputs import STDIN
from diarize.orders import Order, Outcome
from diarize.pipeline import PipelineConfig, SpeakerDiarization
from diarize.profiles.person import Reference
from diarize.profiles.store import ProfileStore
from tests.command import here, write_clip

pytest.importorskip("ray", reason="Ray is not installed")
CONFIG = PipelineConfig()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of two workers."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray")  # the names of sockets must be short: no folder of pytest's
    head = {"num_cpus": 2, "object_store_memory": 80 << 20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        cluster = Cluster(initialize_head=True, head_node_args=head)
        yield cluster.address
        cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray has types, this function none
    shutil.rmtree(folder, ignore_errors=True)


def ordered(name: str) -> Order:
    return Order(name, {"rttm": None})


def done(diarization: SpeakerDiarization, order: Order) -> Outcome:
    return Outcome(order, result=diarization.diarize(order.open()))


def fateful(diarization: SpeakerDiarization, order: Order) -> Outcome:
    """Each try leaves its process's number; the first on `killed` waits for its end, `deadly` ends its worker."""
    name = Path(order.input)
    tries = name.with_suffix(".tries")
    with tries.open("a") as note:
        note.write(f"{os.getpid()}\n")
    if name.stem == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if name.stem == "killed" and len(tries.read_text().split()) == 1:
        time.sleep(120)
    if name.stem == "faulty":
        raise KeyError("surprise")
    return done(diarization, order)


def kill_the_first_to_try(recording: Path) -> None:
    """As the system does when memory runs out."""
    note = recording.with_suffix(".tries")
    while not (note.exists() and note.read_text().endswith("\n")):
        time.sleep(0.05)
    os.kill(int(note.read_text()), signal.SIGKILL)


def test_nothing_is_lost_with_a_worker(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    good = ("killed", "a", "b", "c")
    for number, name in enumerate(good):
        write_clip(tmp_path / f"{name}.wav", 6 + number)
    monkeypatch.chdir(tmp_path)  # the workers were started elsewhere
    orders = [ordered(f"{name}.wav") for name in (*good, "deadly", "faulty")]
    killer = Thread(target=kill_the_first_to_try, args=[tmp_path / "killed.wav"], daemon=True)
    killer.start()
    outcomes = list(engine.cluster(address)(fateful, orders, CONFIG, None))

    assert sorted(one.order.input for one in outcomes) == sorted(order.input for order in orders)
    assert {one.order.input: one.error for one in outcomes if one.error} == {
        "deadly.wav": "deadly.wav: its worker died 3 times (out of memory?)",
        "faulty.wav": "faulty.wav: on a worker, KeyError: 'surprise'",
    }
    local = SpeakerDiarization(CONFIG)
    for one in outcomes:
        assert one.error or one.turns == done(local, one.order).turns != []
    tries = {note.stem: len(note.read_text().split()) for note in tmp_path.glob("*.tries")}
    assert tries == {"killed": 2, "a": 1, "b": 1, "c": 1, "deadly": 3, "faulty": 1}
    assert not active_children()
    assert capfd.readouterr() == ("", "")


def test_what_is_only_on_this_machine_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"standard input \(-\) does not reach another machine"):
        list(engine.cluster(address)(done, [ordered(STDIN)], CONFIG, None))
    assert not active_children()


def test_without_a_cluster_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 3)
    with pytest.raises(
        ConnectionError, match=r"^no Ray cluster .*at 127.0.0.1:9: give its head's address \(no answer\)$"
    ):
        engine.cluster("127.0.0.1:9")
    assert capfd.readouterr() == ("", "")
    assert not active_children()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", {}.get)
    with pytest.raises(ValueError, match=r'Ray is not installed: pip install "diarize-live\[ray\]"'):
        engine.cluster()


def test_a_worker_of_another_version_or_without_the_model_says_so(tmp_path: Path) -> None:
    order = ordered("a.wav")
    outcome, _ = engine._work(done, order, CONFIG, None, str(tmp_path), "0.0.1")
    assert str(outcome.error).startswith("a.wav: ")
    assert str(outcome.error).endswith(
        f"has version {__version__} of diarize-live, and 0.0.1 is asked for: install that"
    )


def test_the_command_writes_what_the_cluster_finds(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "a.wav", 6)
    write_clip(tmp_path / "in" / "b.wav", 7)
    (tmp_path / "in" / "bad.wav").write_text("no audio\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIARIZE_PROFILES", str(tmp_path / "people.db"))
    recording = SpeakerDiarization(CONFIG).embedded("in/a.wav")
    voice = np.mean([window.embedding for window in recording.channels[0][:6]], axis=0)
    reference = Reference(voice / np.linalg.norm(voice), recording.model, 5.0, 0.9, "2025-01-01T00:00:00Z")
    with ProfileStore("people.db") as store:
        store.enroll("Clara", [reference])
    said = here(capfd, "file", "in", "-o", "out", "--engine", "ray", "--address", address, "--save-embeddings", "kept")
    assert said.code == 1
    assert "error: in/bad.wav: is in no known audio format" in said.err
    assert "3 recordings: 2 done, 1 failed; " in said.err
    assert " Clara " in (tmp_path / "out" / "a.rttm").read_text()
    here(capfd, "file", "in", "-o", "by hand", "--save-embeddings", "too")
    for one, other in (("out", "by hand"), ("kept", "too")):
        assert {path.name: path.read_bytes() for path in (tmp_path / one).iterdir()} == {
            path.name: path.read_bytes() for path in (tmp_path / other).iterdir()
        }
