"""Diarize audio that is in memory already: `python examples/from_array.py meeting.wav`.

A waveform goes in as torchaudio.load returns it, a tensor (channels, samples) and its sample rate in Hz; as a NumPy
array with its rate; or as a NumPy array alone, which is then at 16 kHz.
"""

from __future__ import annotations

import sys

import soundfile
import torch

from diarize import SpeakerDiarization


def main() -> None:
    samples, rate = soundfile.read(sys.argv[1], dtype="float32", always_2d=True)
    diarization = SpeakerDiarization()
    from_array = diarization((samples.T, rate))
    from_tensor = diarization((torch.from_numpy(samples.T.copy()), rate))
    for name, annotation in (("array", from_array), ("tensor", from_tensor)):
        print(f"{name}: {len(annotation)} turns of {len(annotation.labels())} speakers")


if __name__ == "__main__":
    main()
