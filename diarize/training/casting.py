"""Who says what when: a stretch of a real conversation, and a voice for each of its speakers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diarize.training.speech import Template, Voice

Places = list[tuple[float, float]]
"""One speaker's turns: (start, end) in seconds."""

_PRESENT = 1.0  # seconds: who says less in the stretch is left out of it
_TRIES = 500  # stretches looked at for the wanted number of speakers
_ENOUGH = 2.0  # how often a voice may say everything it has, where another has more to say


def choose_stretch(
    templates: Sequence[Template], wanted: int, seconds: float, rng: np.random.Generator
) -> tuple[str, float, list[Places]]:
    """`seconds` of a real conversation in which `wanted` people speak, of a corpus drawn first.

    Returns the template's name, where in it, and the turns of each speaker.  ValueError where there is none.
    """
    fitting: dict[str, list[Template]] = {}
    for template in templates:
        if len({name for _, _, name in template.turns}) >= wanted:
            fitting.setdefault(template.corpus, []).append(template)
    for _ in range(_TRIES if fitting else 0):
        corpus = fitting[str(rng.choice(list(fitting)))]
        template = corpus[int(rng.integers(len(corpus)))]
        start = round(float(rng.uniform(0, max(1.0, template.seconds - seconds))), 2)
        turns: dict[str, Places] = {}
        for first, last, name in template.stretch(start, seconds):
            turns.setdefault(name, []).append((first, last))
        present = [places for places in turns.values() if _talk(places) >= _PRESENT]
        if len(present) == wanted:
            return template.name, start, present
    raise ValueError(
        f"{wanted} speakers cannot be had: no template found with so many in {seconds:.0f} s; ask for fewer or longer"
    )


def cast_voices(
    voices: Sequence[Voice], speakers: Sequence[Places], rng: np.random.Generator
) -> list[tuple[Voice, Places]]:
    """Who speaks whose turns: a drawn voice for each, those who say most first, with enough to say if there is one.

    ValueError where there are fewer voices than speakers.
    """
    if len(speakers) > len(voices):
        raise ValueError(f"{len(speakers)} speakers cannot be had: there are {len(voices)} voices; ask for fewer")
    free = list(voices)
    cast = []
    for places in sorted(speakers, key=_talk, reverse=True):
        enough = [voice for voice in free if voice.seconds * _ENOUGH >= _talk(places)]
        enough = enough or sorted(free, key=lambda voice: -voice.seconds)[: len(speakers)]
        voice = enough[int(rng.integers(len(enough)))]
        free.remove(voice)
        cast.append((voice, places))
    return cast


def _talk(places: Places) -> float:
    return sum(end - start for start, end in places)
