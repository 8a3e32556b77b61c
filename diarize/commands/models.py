"""The commands about speaker models: `diarize models list|show|pull|remove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.commands.options import Trust
from diarize.terminal import counted, exit_code, fail, printable, say, show, write

if TYPE_CHECKING:
    from diarize.models.installed import Installed

models = typer.Typer(help="Speaker models: which there are, what they are, and fetching them from the hub.")

HubId = Annotated[str, typer.Argument(metavar="ID", help="OWNER/NAME at the hub.")]


@models.command(name="list")
def list_models() -> None:
    """List the bundled model, the known ones, and what was pulled."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from diarize.models.installed import installed
    from diarize.models.known import BUNDLED, KNOWN

    with exit_code(1):
        here = {model.id: model for model in installed()}
        rows = [(name, "bundled", "see its card", "192", "diarize/models/MODEL_CARD.md") for name in BUNDLED]
        for model in KNOWN:
            pulled = here.pop(model.id, None)
            rows.append((model.id, _state(model.id, pulled), model.licence, model.dimensions, model.error))
        rows += [
            (model_id, _state(model_id, other), other.licence or "not said", "", "") for model_id, other in here.items()
        ]
        table = Table(box=box.SIMPLE, pad_edge=False)
        for column in ("model", "state", "licence", "dimensions"):
            table.add_column(column, no_wrap=True)
        table.add_column("published equal error rate")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        show(table)


@models.command(name="show")
def show_model(
    name: Annotated[str, typer.Argument(metavar="NAME|ID|PATH", help="A model, as --model takes it.")],
    trust: Trust = False,
) -> None:
    """Tell what a model is, and check that its files are those that were pulled."""
    from rich.text import Text

    from diarize.models.checkpoints import CheckpointError
    from diarize.models.encoder import resolve
    from diarize.models.installed import damage, read_manifest
    from diarize.models.known import known

    published, pulled = known(name), read_manifest(name)
    facts = [("model", name)]
    if published:
        facts.append(("published", f"equal error rate {published.error}"))
        facts.append(("terms", "; ".join(filter(None, (published.licence, published.terms)))))
    facts += _pulled(pulled) if pulled else [("state", _state(name, None))] if published else []
    problems = damage(pulled) if pulled else []
    if not problems and (pulled or not published or published.package):
        with exit_code(2):
            try:
                facts += _network(resolve(name), trust=trust)
            except CheckpointError as error:
                if not pulled:
                    raise
                facts.append(("network", str(error)))
    with exit_code(1):
        width = max(len(fact) for fact, _ in facts) + 2
        show(*(Text.assemble((fact.ljust(width), "bold"), printable(value)) for fact, value in facts))
    for problem in problems:
        say(f"error: {problem}")
    if pulled and problems:
        fail(f"{name} is damaged: diarize models pull {name} --revision {pulled.revision}", 1)


@models.command()
def pull(
    model_id: HubId,
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="A commit, tag or branch; by default what main is now.")
    ] = None,
) -> None:
    """Fetch a model from the hub, once; after that it is used without a network.

    It is pinned to the commit it was at. HF_TOKEN, HF_ENDPOINT and the like are huggingface_hub's own settings. Prints
    the folder.
    """
    from diarize.hub import check_id
    from diarize.hub import pull as pull_model
    from diarize.models.known import known

    with exit_code(2):
        check_id(model_id)
    if (published := known(model_id)) and published.terms:
        say(f"{model_id}: {published.terms}")
    with exit_code(1):
        model = pull_model(model_id, revision)
        write(f"{model.folder}\n")
    say(
        f"{model_id}: {counted(len(model.files), 'file')}, {_megabytes(model)}, commit {model.revision[:12]}, "
        f"licence {model.licence or 'not said'}; use it as --model {model_id}"
    )


@models.command()
def remove(model_id: HubId) -> None:
    """Delete a model that was pulled."""
    from diarize.hub import remove as remove_model

    with exit_code(2):
        remove_model(model_id)


def _state(model_id: str, model: Installed | None) -> str:
    from diarize.models.installed import packaged
    from diarize.models.known import known

    if model:
        return f"pulled, {model.revision[:7]}"
    if (published := known(model_id)) and published.package:
        try:
            packaged(published)
        except ValueError:
            return "not installed"
        return "in its package"
    return "not pulled" if "/" in model_id else "give its file"


def _megabytes(model: Installed) -> str:
    return f"{sum(file.size for file in model.files.values()) / 1e6:.1f} MB"


def _pulled(model: Installed) -> list[tuple[str, str]]:
    """What the manifest says."""
    return [
        ("state", f"pulled {model.pulled}, {_megabytes(model)}"),
        ("revision", model.revision),
        ("licence", model.licence or "not said"),
        ("folder", str(model.folder)),
        *((name, f"{file.size} bytes, sha256 {file.sha256}") for name, file in model.files.items()),
    ]


def _network(path: Path, *, trust: bool) -> list[tuple[str, str]]:
    """What the weights say.  Raises CheckpointError where they cannot be used."""
    from diarize.models.checkpoints import load_checkpoint
    from diarize.models.encoder import BUNDLED_THRESHOLD
    from diarize.models.known import BUNDLED

    checkpoint = load_checkpoint(path, trust=trust)
    threshold = BUNDLED_THRESHOLD if path in BUNDLED.values() else checkpoint.threshold
    return [
        ("network", checkpoint.family),
        ("parameters", f"{sum(weight.numel() for weight in checkpoint.network.parameters()):,}"),
        ("dimensions", str(checkpoint.dimensions)),
        ("front end", type(checkpoint.features).__name__),
        ("threshold", "none of its own" if threshold is None else f"{threshold:g}"),
        ("fingerprint", checkpoint.fingerprint),
    ]
