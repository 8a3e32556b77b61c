"""Hear one recording over every kind of carrier: `python examples/augment.py talk.wav heard/`.

Writes a file for each mode of `chain`, and one that `disturb` has put into a drawn scene.  A folder of real speech with
noises and rooms, as `diarize train` takes it, may follow; without one, they are computed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile

from diarize.sources import read
from diarize.training.carriers import MODES, Sources, disturb, over
from diarize.types import SAMPLE_RATE


def main() -> None:
    recording, folder = Path(sys.argv[1]), Path(sys.argv[2])
    sources = Sources.from_folder(Path(sys.argv[3]), "train") if len(sys.argv) > 3 else Sources.computed()
    samples, rng = read(recording), np.random.default_rng(0)
    heard = {mode: over(samples, mode, rng, sources) for mode in MODES}
    heard["scene"] = disturb(samples[None], rng, sources=sources)[0]
    folder.mkdir(parents=True, exist_ok=True)
    for name, voice in heard.items():
        soundfile.write(folder / f"{name}.wav", voice, SAMPLE_RATE)
        print(f"{folder / name}.wav")


if __name__ == "__main__":
    main()
