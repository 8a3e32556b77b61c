"""The models from elsewhere that are here, and used without a network: from the hub, and in Python packages.

Those from the hub are pinned to a commit.  They lie in one folder, as plain files and not as links:

    models/OWNER--NAME.json       the manifest: the commit, and every file with its size and SHA-256
    models/OWNER--NAME/COMMIT/    the files

The manifest is written last and removed first: files without one are no model.  Only `diarize.hub` puts them there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from diarize.folders import state_folder
from diarize.models.known import Known


@dataclass(frozen=True)
class HubFile:
    """A file of an installed model: its size in bytes, and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Installed:
    """A model that was pulled.

    id: OWNER/NAME at the hub.
    revision: the commit it is pinned to.
    licence: as its card names it; None: it names none.
    pulled: when, ISO 8601 in UTC.
    files: by name.
    """

    id: str
    revision: str
    licence: str | None
    pulled: str
    files: Mapping[str, HubFile]

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return home(self.id) / self.revision


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a model's at the hub: OWNER/NAME."""
    return bool(re.fullmatch(r"(?!.*(--|\.\.))\w[\w.-]*/\w[\w.-]*", name, re.ASCII))


def find(model_id: str) -> Path | None:
    """The folder of an installed model; None where it is not installed, or not whole.

    Needs no network.  The files' sizes are looked at, their content is not: see `damage`.
    """
    model = read_manifest(model_id)
    if model is None:
        return None
    try:
        whole = all((model.folder / name).stat().st_size == file.size for name, file in model.files.items())
    except OSError:
        return None
    return model.folder if whole else None


def installed() -> list[Installed]:
    """Every installed model that is whole, by id."""
    ids = (path.stem.replace("--", "/", 1) for path in sorted(models_folder().glob("*--*.json")))
    return [model for model in map(read_manifest, ids) if model and find(model.id)]


def packaged(model: Known) -> Path:
    """The weights that a Python package carries; it is found by its metadata, and not imported.

    Raises ValueError where it is not installed, or has lost them.
    """
    remedy = f"pip install --no-deps {model.package}"
    try:
        weights = Path(str(distribution(model.package).locate_file(model.weights)))
    except PackageNotFoundError:
        raise ValueError(f"{model.id} is in a Python package that is not installed: {remedy}") from None
    if not weights.is_file():
        raise ValueError(f"{weights}: gone, so that the package is damaged: {remedy} --force-reinstall")
    return weights


def damage(model: Installed) -> list[str]:
    """What is wrong with the files of an installed model, one phrase each; all of them are read."""
    problems = []
    for name, file in model.files.items():
        try:
            if sha256(model.folder / name) != file.sha256:
                problems.append(f"{name} is not what was pulled (its SHA-256 differs)")
        except OSError as error:
            problems.append(f"{name} cannot be read: {error.strerror}")
    return problems


def read_manifest(model_id: str) -> Installed | None:
    """What was pulled under an id, whole or not; None where there is no manifest, or it is damaged."""
    if not is_hub_id(model_id):
        return None
    try:
        fields = json.loads(manifest(model_id).read_text(encoding="utf-8"))
        files = {name: HubFile(**file) for name, file in fields.pop("files").items()}
        return Installed(**fields, files=files)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def models_folder() -> Path:
    """The folder of all installed models; it need not exist."""
    return state_folder() / "models"


def home(model_id: str) -> Path:
    """The folder of a model, in which each commit has its own."""
    return models_folder() / model_id.replace("/", "--")


def manifest(model_id: str) -> Path:
    """The file that says what a model consists of."""
    return models_folder() / f"{home(model_id).name}.json"


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
