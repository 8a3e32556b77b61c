"""Models from the hub: pulled from one that runs here, pinned, checked, and used when it is gone."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from diarize import hub
from diarize.models.checkpoints import FILES
from diarize.models.encoder import SpeakerEncoder
from diarize.models.installed import damage, find, installed, is_hub_id, manifest, models_folder
from diarize.models.known import KNOWN
from tests.hub_server import MODEL, Failure, Hub, checkpoint, own_hub, repository, serving

WEIGHTS = "embedding_model.ckpt"
PULLED = {WEIGHTS, "README.md", "hyperparams.yaml"}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Hub]:
    with own_hub(tmp_path) as told:
        yield told


def pull(served: Hub, revision: str | None = None, model: str = MODEL) -> Path:
    return hub.pull(model, revision, endpoint=served.address).folder


def refusal(served: Hub, revision: str | None = None, model: str = MODEL) -> str:
    """The one line with which a pull fails."""
    with pytest.raises(hub.HubError) as refused:
        pull(served, revision, model)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith(f"{model}: ")
    return message


def left() -> list[str]:
    """Every file and folder of models; locks are none."""
    return sorted(path.name for path in models_folder().rglob("*") if path.suffix != ".lock")


def test_pulled_once_and_used_without_the_hub(served: Hub, tmp_path: Path) -> None:
    assert find(MODEL) is None
    folder = pull(served)
    served.failures["/"] = (500, {})  # whoever asks from now on is found out
    asked = list(served.asked)
    assert find(MODEL) == folder
    (tmp_path / WEIGHTS).write_bytes(checkpoint(1))
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    by_id, by_file = SpeakerEncoder.from_pretrained(MODEL), SpeakerEncoder.from_pretrained(tmp_path / WEIGHTS)
    assert np.array_equal(by_id.encode(noise), by_file.encode(noise))
    assert by_id.fingerprint == by_file.fingerprint
    assert served.asked == asked


def test_what_is_kept_of_a_model(served: Hub) -> None:
    folder = pull(served)
    (model,) = installed()
    assert (model.id, model.revision, model.licence) == (MODEL, served.revisions["main"], "apache-2.0")
    assert {path.name for path in folder.iterdir()} == model.files.keys() == PULLED  # no code, nothing of the client's
    for name, file in model.files.items():
        content = repository(1)[name]
        assert (folder / name).read_bytes() == content
        assert not (folder / name).is_symlink()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert not damage(model)


def test_a_revision_is_pinned_as_its_commit(served: Hub) -> None:
    first = served.revisions["v1"]
    second = served.publish(repository(2), "main")
    assert pull(served, "v1").name == first
    assert [model.revision for model in installed()] == [first]
    assert pull(served).name == second  # main has moved on
    assert (pull(served, first) / WEIGHTS).read_bytes() == repository(1)[WEIGHTS]
    assert [model.revision for model in installed()] == [first]
    assert second not in left()


def test_what_is_here_is_not_fetched_again_and_what_is_damaged_is(served: Hub) -> None:
    folder = pull(served)
    served.asked.clear()
    assert pull(served) == folder
    assert [line for line in served.asked if "/api/" not in line] == []
    (folder / WEIGHTS).write_bytes(b"x" + (folder / WEIGHTS).read_bytes()[1:])
    (model,) = installed()
    assert damage(model) == [f"{WEIGHTS} is not what was pulled (its SHA-256 differs)"]
    (folder / "README.md").unlink()
    assert "README.md cannot be read: No such file or directory" in damage(model)
    assert find(MODEL) is None
    assert pull(served) == folder
    assert not damage(model)


def test_another_file_under_the_same_commit_is_refused(served: Hub) -> None:
    folder = pull(served)
    served.commits[served.revisions["main"]] = repository(2)
    assert "refused: the hub has another embedding_model.ckpt under the same commit" in refusal(served)
    assert (find(MODEL), (folder / WEIGHTS).read_bytes()) == (folder, repository(1)[WEIGHTS])


@pytest.mark.parametrize("name", [WEIGHTS, "hyperparams.yaml"])
def test_bytes_that_are_not_what_the_hub_says_are_refused(served: Hub, name: str) -> None:
    content = repository(1)[name]
    served.swapped[name] = b"?" + content[1:]
    assert f"{name} came damaged: its hash is not the hub's" in refusal(served)
    assert left() == []


GATED: Failure = (403, {"X-Error-Code": "GatedRepo"})
ABSENT: Failure = (404, {"X-Error-Code": "RepoNotFound"})


@pytest.mark.parametrize(
    ("path", "failure", "said"),
    [
        (
            "/api",
            (401, {"X-Error-Code": "RepoNotFound"}),
            "no such model, or it is private: check the id, and HF_TOKEN",
        ),
        ("/api", (401, {"X-Error-Message": "Invalid credentials in Authorization header"}), "(the hub answered 401)"),
        ("/api", (403, {}), "HF_TOKEN does not allow it (the hub answered 403)"),
        ("/api", ABSENT, "there is no such model (the hub answered 404)"),
        ("/api", (500, {}), "the hub is not well: try again later (the hub answered 500)"),
        ("/api", (200, {}), "the hub cannot be reached, or broke off"),  # the login page of some network
        ("/someone", GATED, "accept the terms on the model's page at the hub, then set HF_TOKEN"),
        (f"/{MODEL}/resolve", (401, {"X-Error-Code": "GatedRepo"}), "accept the terms on the model's page"),
        (f"/{MODEL}/resolve", (404, {"X-Error-Code": "EntryNotFound"}), "(the hub answered 404)"),
        ("/store", (403, {}), "HF_TOKEN does not allow it (the hub answered 403)"),
        ("/store", (503, {}), "the hub is not well: try again later (the hub answered 503)"),
    ],
)
def test_a_hub_that_refuses(served: Hub, path: str, failure: Failure, said: str) -> None:
    served.failures[path] = failure
    assert said in refusal(served)
    assert (find(MODEL), installed(), left()) == (None, [], [])


def test_a_hub_that_refuses_leaves_what_was_installed(served: Hub) -> None:
    folder = pull(served)
    served.publish(repository(2), "main")
    served.failures["/store"] = (500, {})
    refusal(served)
    assert find(MODEL) == folder
    assert left() == sorted([manifest(MODEL).name, folder.parent.name, folder.name, *PULLED])


def test_no_such_model_or_revision(served: Hub) -> None:
    assert "there is no such model, or it is private" in refusal(served, model="no/body")
    assert "the hub has no revision 'v9' of it" in refusal(served, "v9")
    assert left() == []


def test_a_model_of_another_kind(served: Hub) -> None:
    served.publish({"README.md": b"", "model.gguf": b"", "custom.py": b""}, "main")
    assert "no model that could be used: it has none of embedding_model.ckpt" in refusal(served)
    assert [line for line in served.asked if "/resolve/" in line] == []


def test_a_hub_that_is_down(served: Hub) -> None:
    gone = Hub()
    with serving(gone):
        pass
    served.address = gone.address
    assert "the hub cannot be reached, or broke off: try again later (ConnectError: " in refusal(served)


def test_a_connection_that_breaks_is_taken_up_again(served: Hub) -> None:
    served.cuts = 1
    folder = pull(served)
    assert (folder / WEIGHTS).read_bytes() == repository(1)[WEIGHTS]
    assert sum(line.startswith("GET /store") for line in served.asked) == 2


def test_a_connection_that_always_breaks(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client's, before it tries again
    served.cuts = 1000
    assert "the hub cannot be reached, or broke off" in refusal(served)
    assert left() == []


def test_the_token_goes_to_the_hub_alone(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pull(served)
    assert {(path.startswith("/store"), token) for path, token in served.tokens} == {
        (False, "Bearer hf_secret"),
        (True, None),
    }


PULL = "import sys; from diarize import hub; hub.pull(sys.argv[1], endpoint=sys.argv[2])"


def test_nothing_else_is_asked_or_told(served: Hub) -> None:
    subprocess.run([sys.executable, "-c", PULL, MODEL, served.address], check=True)
    paths = {line.split()[1] for line in served.asked}
    assert all(path.startswith(("/api/models/", f"/{MODEL}/resolve/", "/store/")) for path in paths)
    assert not any("torch" in agent for agent in served.agents)
    assert find(MODEL)


def test_killed_in_the_middle(served: Hub) -> None:
    served.held.clear()
    with subprocess.Popen([sys.executable, "-c", PULL, MODEL, served.address]) as pulling:
        assert served.waiting.wait(60)
        assert "another process is at it" in refusal(served)
        pulling.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    assert left() != []
    assert (find(MODEL), installed()) == (None, [])
    served.held.set()
    folder = pull(served)
    assert left() == sorted([manifest(MODEL).name, folder.parent.name, folder.name, *PULLED])


def test_a_manifest_without_its_files_is_no_model(served: Hub) -> None:
    folder = pull(served)
    text = manifest(MODEL).read_text()
    for broken in ("", "[]", "{}", text[: len(text) // 2], text.replace("sha256", "md5")):
        manifest(MODEL).write_text(broken)
        assert (find(MODEL), installed()) == (None, [])
    assert pull(served) == folder
    with (folder / WEIGHTS).open("r+b") as stream:
        stream.truncate(1000)
    assert (find(MODEL), installed()) == (None, [])


def test_removed(served: Hub) -> None:
    pull(served)
    hub.remove(MODEL)
    assert (find(MODEL), left()) == (None, [])
    with pytest.raises(ValueError, match="'someone/tiny-ecapa' is not installed"):
        hub.remove(MODEL)


def test_loading_never_fetches(served: Hub) -> None:
    with pytest.raises(ValueError, match=f"and not pulled; if it is a model of the hub: diarize models pull {MODEL}"):
        SpeakerEncoder.from_pretrained(MODEL)
    assert served.asked == []


@pytest.mark.parametrize("name", ["", "tiny", "a/b/c", "../b", "a/..", "a/b c", "/b", "a/", "a--b/c", "ä/b", "a\\b/c"])
def test_what_is_no_id(served: Hub, name: str) -> None:
    assert not is_hub_id(name)
    assert find(name) is None
    with pytest.raises(ValueError, match="it should read OWNER/NAME"):
        pull(served, model=name)
    with pytest.raises(ValueError, match="is not installed"):
        hub.remove(name)
    assert served.asked == []


def test_what_is_pulled_is_what_can_be_loaded() -> None:
    assert hub.WEIGHTS == FILES
    assert sum(is_hub_id(model.id) for model in KNOWN) == 3
