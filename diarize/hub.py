"""Models from the hub: fetched when they are asked for, pinned to a commit, checked.

`huggingface_hub` does the fetching.  Nothing else in the package fetches anything: a model that was pulled is read
from `diarize.models.installed`, without a network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from diarize.formats import write_atomically
from diarize.models.installed import HubFile, Installed, home, is_hub_id, manifest, models_folder, read_manifest, sha256

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

WEIGHTS = ("embedding_model.ckpt", "pytorch_model.bin", "ecapa2.pt", "model.pt", "model.safetensors")
"""What a model's weights are called: a model without one of these is not pulled."""

BESIDES = ("hyperparams.yaml", "config.json", "README.md", "LICENSE*")
"""What is pulled with them; nothing else is, least of all code."""

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",  # plain HTTP resumes, and goes through a proxy as everything else does
    "HF_HUB_VERBOSITY": "error",  # what goes wrong is told in one line, by us
}
"""How huggingface_hub is set, unless the user has set it otherwise; it looks when it is first imported."""


class HubError(OSError):
    """A model that could not be fetched; the message says, in one line, why and what to do."""


def check_id(model_id: str) -> None:
    """Raise ValueError for a name that no model at the hub can have."""
    if not is_hub_id(model_id):
        raise ValueError(f"{model_id!r} is no model's id at the hub: it should read OWNER/NAME")


def pull(model_id: str, revision: str | None = None, *, endpoint: str | None = None) -> Installed:
    """Fetch a model; the hub's address and the token are taken from HF_ENDPOINT and HF_TOKEN.

    revision: a branch, tag or commit; None: what `main` is now. It is resolved once and pinned as a commit.
    endpoint: the hub's address, instead of HF_ENDPOINT.

    What is here already and right is not fetched again; another commit takes the place of the one before.  Every file
    is held against the hub's SHA-256, or for a small one git's own hash.  Raises ValueError for an impossible id,
    HubError where the model cannot be had; nothing half fetched is left, and what was installed stays.
    """
    check_id(model_id)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from huggingface_hub import HfApi

    with _alone(model_id):
        kept = read_manifest(model_id)
        with _explained(model_id, revision):
            api = HfApi(endpoint=endpoint)
            info = api.model_info(model_id, revision=revision or "main", files_metadata=True, timeout=10)
        wanted = _wanted(model_id, info, kept)
        folder = home(model_id) / str(info.sha)
        try:
            for file in wanted:
                with _explained(model_id, revision):
                    _fetch(model_id, file, folder, endpoint)
            kept = _described(model_id, info, wanted, folder)
            write_atomically(manifest(model_id), json.dumps(asdict(kept), indent=1))
        finally:
            shutil.rmtree(folder / ".cache", ignore_errors=True)  # huggingface_hub's notes
            _leave_only(kept, model_id)
    return kept


def remove(model_id: str) -> None:
    """Delete an installed model, or what is left of one.  Raises ValueError where nothing of it is here."""
    if not is_hub_id(model_id) or not (manifest(model_id).exists() or home(model_id).exists()):
        raise ValueError(f"{model_id!r} is not installed")
    with _alone(model_id):
        _leave_only(None, model_id)


@contextmanager
def _alone(model_id: str) -> Iterator[None]:
    """Nobody else changes this model meanwhile."""
    from filelock import FileLock, Timeout

    models_folder().mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{home(model_id)}.lock", timeout=0):
            yield
    except Timeout:
        raise HubError(f"{model_id}: another process is at it; wait until it is done") from None


def _wanted(model_id: str, info: ModelInfo, kept: Installed | None) -> list[RepoSibling]:
    """The files to pull.  Raises HubError where there are no weights, or they cannot be what they should be."""
    files = [f for f in info.siblings or [] if any(fnmatchcase(f.rfilename, like) for like in WEIGHTS + BESIDES)]
    if not re.fullmatch("[0-9a-f]{40}", info.sha or ""):
        raise HubError(f"{model_id}: the hub does not say which commit this is, so that it cannot be pinned")
    if not {file.rfilename for file in files} & set(WEIGHTS):
        raise HubError(f"{model_id}: no model that could be used: it has none of {', '.join(WEIGHTS)}")
    for file in files:
        if not (file.lfs or file.blob_id):
            raise HubError(f"{model_id}: the hub gives no hash of {file.rfilename}, so that it cannot be checked")
        pinned = kept.files.get(file.rfilename) if kept and kept.revision == info.sha else None
        if pinned and file.lfs and file.lfs.sha256 != pinned.sha256:
            raise HubError(
                f"{model_id}: refused: the hub has another {file.rfilename} under the same commit than when it was "
                f"pulled; if that is meant: diarize models remove {model_id}, and pull again"
            )
    return files


def _fetch(model_id: str, file: RepoSibling, folder: Path, endpoint: str | None) -> None:
    """Put a file into the folder, where it is not there already.  Raises HubError where it comes damaged."""
    from huggingface_hub import hf_hub_download

    path = folder / file.rfilename
    if _is(file, path):
        return
    path.unlink(missing_ok=True)
    hf_hub_download(model_id, file.rfilename, revision=folder.name, local_dir=folder, endpoint=endpoint)
    if not _is(file, path):
        raise HubError(f"{model_id}: {file.rfilename} came damaged: its hash is not the hub's; pull again")


def _is(file: RepoSibling, path: Path) -> bool:
    """Whether a file is there and is what the hub says: by SHA-256 where it is large, else by git's hash."""
    if not path.is_file():
        return False
    if file.lfs:
        return sha256(path) == file.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == file.blob_id


def _described(model_id: str, info: ModelInfo, files: list[RepoSibling], folder: Path) -> Installed:
    """The manifest of what has come."""
    paths = {file.rfilename: folder / file.rfilename for file in files}
    licence = getattr(info.card_data, "license", None)
    return Installed(
        id=model_id,
        revision=folder.name,
        licence=licence if isinstance(licence, str) else None,
        pulled=datetime.now(UTC).isoformat(timespec="seconds"),
        files={name: HubFile(path.stat().st_size, sha256(path)) for name, path in paths.items()},
    )


def _leave_only(model: Installed | None, model_id: str) -> None:
    """Delete every commit of a model but this one; None: the whole model."""
    if model is None:
        manifest(model_id).unlink(missing_ok=True)
    for folder in list(home(model_id).glob("*")):
        if model is None or folder != model.folder:
            shutil.rmtree(folder)
    if model is None and home(model_id).exists():
        home(model_id).rmdir()


@contextmanager
def _explained(model_id: str, revision: str | None) -> Iterator[None]:
    """What huggingface_hub raises, as one line."""
    from huggingface_hub.errors import HfHubHTTPError

    unanswered: type[Exception] = HfHubHTTPError.__mro__[1]  # of its HTTP library, which is another in every version
    try:
        yield
    except HubError:
        raise
    except (OSError, ValueError, TypeError, KeyError, unanswered) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of this machine's disk
        cause: BaseException = error
        while not isinstance(cause, HfHubHTTPError) and cause.__cause__:
            cause = cause.__cause__  # it wraps what happened into "please check your connection"
        raise HubError(f"{model_id}: {_reason(cause, revision or 'main')}") from None


def _reason(error: BaseException, revision: str) -> str:
    """Why a model cannot be had, and what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "its publisher wants to be asked: accept the terms on the model's page at the hub, then set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub has no revision {revision!r} of it"
    if isinstance(error, errors.HfHubHTTPError):
        meaning: Mapping[int, str] = {
            401: "there is no such model, or it is private: check the id, and HF_TOKEN",
            403: "HF_TOKEN does not allow it",
            404: "there is no such model",
        }
        status = error.response.status_code
        return f"{meaning.get(status, 'the hub is not well: try again later')} (the hub answered {status})"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so that nothing is pulled"
    said = (str(error).strip().splitlines() or ["no word"])[0]
    return f"the hub cannot be reached, or broke off: try again later ({type(error).__name__}: {said})"
