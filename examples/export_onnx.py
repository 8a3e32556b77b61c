"""Compare voices with an exported model, without PyTorch and without this package.

diarize export ecapa-tdnn-c256 --onnx encoder.onnx
python examples/export_onnx.py encoder.onnx ana.wav call1.wav call2.wav     # 16 kHz, mono, 16 bits
"""

from __future__ import annotations

import sys
import wave

import numpy as np
import onnxruntime


def read(path: str, least: int) -> np.ndarray:
    with wave.open(path) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16_000, 1, 2):
            sys.exit(f"{path}: must be 16 kHz, mono, 16 bits")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    return np.resize(samples, max(len(samples), least))  # what is too short is repeated


def main() -> None:
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map  # family, fingerprint, licence, threshold, ...
    recordings = [read(path, int(facts["least_samples"])) for path in sys.argv[2:]]
    known, *others = [session.run(None, {"waveforms": samples[None]})[0][0] for samples in recordings]
    for path, other in zip(sys.argv[3:], others, strict=True):
        score = float(known @ other)
        print(f"{path}: {'same' if score >= float(facts['threshold']) else 'different'} ({score:.2f})")


if __name__ == "__main__":
    main()
