"""`diarize models` as its users meet it, with a hub that runs here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from diarize.models.installed import find
from diarize.models.known import KNOWN
from tests.command import here, process, quickly, write_clip
from tests.hub_server import MODEL, Hub, checkpoint, own_hub, serving
from tests.programs import Newer, save

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Hub]:
    with own_hub(tmp_path) as told:
        yield told


def test_pull_use_show_remove(served: Hub, tmp_path: Path, capfd: Capture) -> None:
    commit = served.revisions["v1"]
    done = process("models", "pull", MODEL, "--revision", "v1")
    folder = find(MODEL)
    assert (done.code, done.out) == (0, f"{folder}\n")
    said = done.err.strip()
    assert said.startswith(f"{MODEL}: 3 files, 0.")
    assert said.endswith(f" MB, commit {commit[:12]}, licence apache-2.0; use it as --model {MODEL}")

    served.failures["/"] = (500, {})
    asked = len(served.asked)
    clip = write_clip(tmp_path / "clip.wav", 2)
    assert here(capfd, "verify", clip, clip, "--model", MODEL).out == "1.0000 same\n"
    listed = here(capfd, "models", "list")
    (line,) = (line for line in listed.out.splitlines() if MODEL in line)
    assert line.split()[:4] == [MODEL, "pulled,", commit[:7], "apache-2.0"]
    shown = here(capfd, "models", "show", MODEL)
    assert shown.code == 0
    facts = dict(line.split(maxsplit=1) for line in shown.out.splitlines() if len(line.split()) > 1)
    assert facts["revision"].strip() == commit
    assert facts["folder"].strip() == str(folder)
    digest = hashlib.sha256(checkpoint(1)).hexdigest()
    assert facts["fingerprint"].strip() == digest
    assert facts["embedding_model.ckpt"].strip() == f"{len(checkpoint(1))} bytes, sha256 {digest}"
    assert facts["network"].strip() == "SpeechBrain's ECAPA-TDNN"
    assert facts["dimensions"].strip() == "192"

    assert here(capfd, "models", "remove", MODEL).code == 0
    assert len(served.asked) == asked
    again = here(capfd, "models", "remove", MODEL)
    assert (again.code, again.err) == (2, f"error: '{MODEL}' is not installed\n")


def test_show_finds_what_was_tampered_with(served: Hub, capfd: Capture) -> None:
    process("models", "pull", MODEL)
    folder = find(MODEL)
    assert folder
    weights = folder / "embedding_model.ckpt"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    done = here(capfd, "models", "show", MODEL)
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: embedding_model.ckpt is not what was pulled (its SHA-256 differs)",
        f"error: {MODEL} is damaged: diarize models pull {MODEL} --revision {folder.name}",
    ]
    assert process("models", "pull", MODEL, "--revision", folder.name).code == 0
    assert here(capfd, "models", "show", MODEL).code == 0


def test_what_cannot_be_pulled_is_one_line(served: Hub, capfd: Capture) -> None:
    served.failures["/"] = (401, {})
    done = process("models", "pull", MODEL, "--revision", "v1")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"error: {MODEL}: there is no such model, or it is private: check the id, and HF_TOKEN (the hub answered 401)\n"
    )
    done = here(capfd, "models", "pull", "tiny")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: 'tiny' is no model's id at the hub: it should read OWNER/NAME\n"


def test_a_hub_that_is_down_is_one_line(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = process("models", "pull", MODEL).out
    gone = Hub()
    with serving(gone):
        pass
    monkeypatch.setenv("HF_ENDPOINT", gone.address)
    done = process("models", "pull", MODEL)
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: {MODEL}: the hub cannot be reached, or broke off: try again later (")
    assert kept == f"{find(MODEL)}\n"  # what was pulled before is there


def test_offline_is_offline(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = process("models", "pull", MODEL)
    assert (done.code, done.err) == (1, f"error: {MODEL}: HF_HUB_OFFLINE is set, so that nothing is pulled\n")
    assert served.asked == []


def test_what_a_licence_forbids_is_said_before_anything_is_fetched(served: Hub) -> None:
    done = process("models", "pull", "Jenthe/ECAPA2")
    first, second = done.err.splitlines()
    assert first.startswith("Jenthe/ECAPA2: not for commercial use (CC BY-NC 4.0); ")
    assert second.startswith("error: Jenthe/ECAPA2: there is no such model")


def test_the_bundled_and_the_known(served: Hub, capfd: Capture) -> None:
    listed = here(capfd, "models", "list").out
    rows = {line.split()[0]: line.split()[1:3] for line in listed.splitlines() if line.strip()}
    assert rows["ecapa-tdnn-c256"][0] == "bundled"
    assert {model.id: rows[model.id] for model in KNOWN if "/" in model.id} == {
        model.id: ["not", "pulled"] for model in KNOWN if "/" in model.id
    }
    bundled = here(capfd, "models", "show", "ecapa-tdnn-c256").out
    assert "2,049,952" in bundled
    for model in KNOWN:
        shown = here(capfd, "models", "show", model.id)
        assert shown.code == 0
        assert model.licence in shown.out
        assert model.error in shown.out
    done = here(capfd, "models", "show", "no/body")
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("if it is a model of the hub: diarize models pull no/body\n")


def test_no_network_is_loaded_to_list_them() -> None:
    assert quickly("models", "list").code == 0


def test_a_program_is_not_run_to_be_shown(served: Hub, tmp_path: Path, capfd: Capture) -> None:
    program = save(Newer(), tmp_path / "ecapa2.pt").read_bytes()
    served.publish({"ecapa2.pt": program}, "main")
    process("models", "pull", MODEL)
    shown = here(capfd, "models", "show", MODEL)
    assert shown.code == 0
    assert "TorchScript, which is code that runs when it is loaded" in shown.out
    trusted = here(capfd, "models", "show", MODEL, "--trust")
    assert "TorchScript (ECAPA2)" in trusted.out
