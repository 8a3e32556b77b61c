"""The commands about enrolled people: `diarize profiles`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diarize.commands.enroll import Store
from diarize.commands.options import Changes, Compute, Model, Recipe, Vad, configured
from diarize.terminal import counted, exit_code, printable, say, write

if TYPE_CHECKING:
    from diarize.profiles.person import Origin

profiles = typer.Typer(help="The people who are enrolled: list, rename, merge, carry elsewhere, erase.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The portable file.")]


@profiles.command("list")
def list_(store: Store = None) -> None:
    """Say who is enrolled."""
    from diarize.profiles.store import ProfileStore, store_path

    with exit_code(1):
        path = store_path(store)
        with ProfileStore(path) as people:
            known = people.list()
        if known:
            rows = [(str(one.references), f"{one.speech:.1f} s", one.made[:10], one.name) for one in known]
            _table(("references", "speech", "last enrolled", "name"), *rows)
        else:
            say(f"nobody is enrolled in {path}")


@profiles.command("show")
def show_(name: Name, store: Store = None) -> None:
    """Say what is kept of a person: where each reference came from, and how good it is."""
    from diarize.profiles.store import ProfileStore, store_path

    with exit_code(1):
        with ProfileStore(store_path(store)) as people:
            person = people.show(name)
        rows = [
            (f"{one.speech:.1f} s", f"{one.cohesion:.2f}", one.made, one.model[:12], _where(one.origin))
            for one in person.references
        ]
        _table(("speech", "cohesion", "enrolled", "model", "recording"), *rows)


@profiles.command()
def rename(
    name: Name, new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")], store: Store = None
) -> None:
    """Give a person another name."""
    from diarize.profiles.store import ProfileStore, store_path

    with exit_code(1), ProfileStore(store_path(store)) as people:
        people.rename(name, new)


@profiles.command()
def merge(
    name: Name, other: Annotated[str, typer.Argument(metavar="OTHER", help="Who is the same.")], store: Store = None
) -> None:
    """Two names are one person, who is NAME from now on."""
    from diarize.profiles.store import ProfileStore, store_path

    with exit_code(1), ProfileStore(store_path(store)) as people:
        people.merge(name, other)


@profiles.command()
def delete(name: Name, store: Store = None) -> None:
    """Erase a person: the name and the voice are overwritten, not only taken off the list."""
    from diarize.profiles.store import ProfileStore, store_path

    with exit_code(1), ProfileStore(store_path(store)) as people:
        people.delete(name)


@profiles.command()
def export(
    file: File,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Who; by default everybody.")] = None,
    store: Store = None,
) -> None:
    """Write people into one portable file."""
    from diarize.profiles.store import ProfileStore, store_path

    with exit_code(1), ProfileStore(store_path(store)) as people:
        count = people.export(file, names or ())
        say(
            f"{file}: {_persons(count)}; it tells them by their voices, so keep it as you would keep their fingerprints"
        )


@profiles.command("import")
def import_(
    file: File,
    rename: Annotated[bool, typer.Option("--rename", help="Whose name is taken gets a number after it.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Who is there already is replaced.")] = False,
    store: Store = None,
) -> None:
    """Add the people of an export."""
    from diarize.profiles.store import ProfileStore, store_path

    with exit_code(1), ProfileStore(store_path(store)) as people:
        names = people.import_(file, rename=rename, replace=replace)
        say(f"{people.path}: {_persons(len(names))} imported")


@profiles.command("re-enroll")
def re_enroll(
    drop: Annotated[
        bool, typer.Option("--drop", help="Forget references that cannot be made again, and people without any.")
    ] = False,
    store: Store = None,
    pipeline: Recipe = None,
    set_: Changes = None,
    vad: Vad = None,
    model: Model = None,
    compute: Compute = None,
) -> None:
    """Make everybody's references again, from the recordings they came from: for another model."""
    from diarize.enrolment import heard_again
    from diarize.pipeline import SpeakerDiarization
    from diarize.profiles.store import ProfileStore, store_path

    with exit_code(2):
        diarization = SpeakerDiarization(configured(pipeline, set_, vad, None, model, compute, None, None, None))
        path = store_path(store)
    with exit_code(1), ProfileStore(path) as people:
        before = {one.name: one.references for one in people.list()}
        people.reenroll(lambda everybody: heard_again(diarization.embedded, everybody, drop=drop))
        after = {one.name: one.references for one in people.list()}
        gone = sum(before.values()) - sum(after.values())
        say(
            f"{path}: {_persons(len(after))}, {counted(sum(after.values()), 'reference')}"
            + (f"; forgotten: {counted(gone, 'reference')}, {_persons(len(before) - len(after))}" if gone else "")
        )


def _persons(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _where(origin: Origin | None) -> str:
    from diarize.types import seconds

    if origin is None:
        return "no file"
    if not origin.stretches:
        return origin.path
    start, end = origin.stretches[0][0], origin.stretches[-1][1]
    turns = counted(len(origin.stretches), "turn")
    return f"{origin.path}, {turns} from {seconds(start):.1f} to {seconds(end):.1f} s"


def _table(*rows: Sequence[str]) -> None:
    """Print columns; the last one, the longest, is as wide as it is, so that no path is broken."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
