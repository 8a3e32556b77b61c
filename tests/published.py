"""The networks of CASE (UniSpeech's layout) and Sound-Groove, rebuilt from their descriptions.

Names, shapes and arithmetic, as functions on a state_dict in double precision, with no module of the package and none
of `torch.nn`'s layers: a second opinion on every padding, order and epsilon.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def unispeech_shapes(channels: int = 512, embedding: int = 192) -> Shapes:
    """What `ECAPA_TDNN(channels=..., emb_dim=..., global_context_att=True).state_dict()` holds, but for buffers."""
    yield from conv("layer1.conv", 80, channels, 5)
    yield from norm("layer1.bn", channels)
    for layer in ("layer2", "layer3", "layer4"):
        for number in (1, 2):
            yield from conv(f"{layer}.Conv1dReluBn{number}.conv", channels, channels, 1)
            yield from norm(f"{layer}.Conv1dReluBn{number}.bn", channels)
        for chunk in range(7):
            yield from conv(f"{layer}.Res2Conv1dReluBn.convs.{chunk}", channels // 8, channels // 8, 3)
            yield from norm(f"{layer}.Res2Conv1dReluBn.bns.{chunk}", channels // 8)
        yield from linear(f"{layer}.SE_Connect.linear1", channels, 128)
        yield from linear(f"{layer}.SE_Connect.linear2", 128, channels)
    yield from conv("conv", 3 * channels, 1536, 1)
    yield from conv("pooling.linear1", 3 * 1536, 128, 1)
    yield from conv("pooling.linear2", 128, 1536, 1)
    yield from norm("bn", 3072)
    yield from linear("linear", 3072, embedding)


def sound_groove_shapes(channels: int = 512, embedding: int = 256, blocks: int = 2) -> Shapes:
    """What Sound-Groove's `ECAPA_TDNN(80, channels, embedding).state_dict()` holds."""
    yield from conv("layer1.conv", 80, channels, 5, bias=False)
    yield from norm("layer1.bn", channels)
    for layer in [f"layer{number}" for number in range(2, 2 + blocks)]:
        for number in (0, 2):
            yield from conv(f"{layer}.{number}.conv", channels, channels, 1, bias=False)
            yield from norm(f"{layer}.{number}.bn", channels)
        for chunk in range(7):
            yield from conv(f"{layer}.1.convs.{chunk}", channels // 8, channels // 8, 3, bias=False)
            yield from norm(f"{layer}.1.bns.{chunk}", channels // 8)
        yield from linear(f"{layer}.3.linear1", channels, channels // 2)
        yield from linear(f"{layer}.3.linear2", channels // 2, channels)
    yield from conv("conv", blocks * channels, 1536, 1)
    yield from conv("pooling.linear1", 1536, 128, 1)
    yield from conv("pooling.linear2", 128, 1536, 1)
    yield from norm("bn1", 3072)
    yield from linear("linear", 3072, embedding)
    yield from norm("bn2", embedding)


def conv(name: str, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> Shapes:
    yield f"{name}.weight", (outputs, inputs, kernel)
    if bias:
        yield f"{name}.bias", (outputs,)


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def norm(name: str, channels: int) -> Shapes:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def random_state(shapes: Shapes, seed: int = 0) -> State:
    """Weights that keep the signal's size, and batch norms that change it: fresh ones would hide a misplaced one."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes:
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1000)
        elif name.endswith("running_var"):
            state[name] = torch.empty(shape).uniform_(0.5, 2.0, generator=generator)
        elif len(shape) == 1:
            centre = 1.0 if name.endswith("weight") else 0.0  # a batch norm's gain, or any offset
            state[name] = torch.empty(shape).normal_(centre, 0.2, generator=generator)
        else:
            state[name] = torch.empty(shape).normal_(0.0, 1.5 / np.prod(shape[1:]) ** 0.5, generator=generator)
    return state


def mel_buffers() -> State:
    """The buffers of torchaudio's `MelSpectrogram(16000, n_fft=512, win_length=400, hop_length=160, n_mels=80)`."""
    mels = np.linspace(0.0, 2595 * np.log10(1 + 8000 / 700), 82)
    corners = 700 * (10 ** (mels / 2595) - 1)
    hertz = np.arange(257) * 31.25
    bands = [np.interp(hertz, corners[i : i + 3], [0, 1, 0], left=0, right=0) for i in range(80)]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    return {
        "feature_extract.spectrogram.window": torch.from_numpy(window).float(),
        "feature_extract.mel_scale.fb": torch.from_numpy(np.stack(bands, axis=1)).float(),
    }


def log_mel(state: State, waveform: Tensor) -> Tensor:
    """UniSpeech's features of one waveform, shape (80, frames): frame by frame, by a Fourier matrix."""
    padded = np.pad(waveform.double().numpy(), 256, mode="reflect")
    window = np.pad(state["feature_extract.spectrogram.window"].double().numpy(), 56)
    frames = np.stack([padded[start : start + 512] for start in range(0, len(waveform) + 1, 160)]) * window
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(512), np.arange(257)) / 512)
    logs = np.log(np.abs(frames @ fourier) ** 2 @ state["feature_extract.mel_scale.fb"].double().numpy() + 1e-6).T
    mean, variance = logs.mean(axis=1, keepdims=True), logs.var(axis=1, keepdims=True)
    return torch.from_numpy((logs - mean) / np.sqrt(variance + 1e-5))


class Layers:
    """The layers of a state_dict, each applied by its name, in double precision."""

    def __init__(self, state: State) -> None:
        self.state = {name: tensor.double() for name, tensor in state.items()}

    def conv(self, name: str, x: Tensor, dilation: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = dilation * (weight.shape[2] // 2)
        return functional.conv1d(x, weight, self.state.get(f"{name}.bias"), padding=padding, dilation=dilation)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, variance, gain, offset = (
            self.state[f"{name}.{part}"].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-5) * gain + offset

    def tdnn(self, name: str, x: Tensor) -> Tensor:
        return self.norm(f"{name}.bn", torch.relu(self.conv(f"{name}.conv", x)))

    def res2net(self, name: str, x: Tensor, dilation: int) -> Tensor:
        chunks = list(torch.chunk(x, 8, dim=1))
        for i in range(7):
            heard = chunks[i] if i == 0 else chunks[i] + chunks[i - 1]
            chunks[i] = self.norm(f"{name}.bns.{i}", torch.relu(self.conv(f"{name}.convs.{i}", heard, dilation)))
        return torch.cat(chunks, dim=1)

    def gate(self, name: str, x: Tensor) -> Tensor:
        hidden = torch.relu(self.linear(f"{name}.linear1", x.mean(dim=2)))
        return x * torch.sigmoid(self.linear(f"{name}.linear2", hidden)).unsqueeze(2)

    def pool(self, x: Tensor, heard: Tensor) -> Tensor:
        alpha = torch.softmax(self.conv("pooling.linear2", torch.tanh(self.conv("pooling.linear1", heard))), dim=2)
        mean = (alpha * x).sum(dim=2)
        variance = (alpha * x**2).sum(dim=2) - mean**2
        return torch.cat([mean, torch.sqrt(variance.clamp(min=1e-9))], dim=1)


def unispeech(state: State, features: Tensor) -> Tensor:
    """The embeddings of features (batch, 80, frames)."""
    net = Layers(state)
    x = net.tdnn("layer1", features)
    outputs = []
    for layer, dilation in (("layer2", 2), ("layer3", 3), ("layer4", 4)):
        inner = net.res2net(f"{layer}.Res2Conv1dReluBn", net.tdnn(f"{layer}.Conv1dReluBn1", x), dilation)
        x = x + net.gate(f"{layer}.SE_Connect", net.tdnn(f"{layer}.Conv1dReluBn2", inner))
        outputs.append(x)
    x = torch.relu(net.conv("conv", torch.cat(outputs, dim=1)))
    mean = x.mean(dim=2, keepdim=True).expand_as(x)
    deviation = torch.sqrt(((x - mean) ** 2).sum(dim=2, keepdim=True) / (x.shape[2] - 1) + 1e-10).expand_as(x)
    pooled = net.pool(x, torch.cat([x, mean, deviation], dim=1))
    return net.linear("linear", net.norm("bn", pooled))


def sound_groove(state: State, features: Tensor) -> Tensor:
    """The embeddings of features (batch, 80, frames)."""
    net = Layers(state)
    outputs = [net.tdnn("layer1", features)]
    for layer, dilation in (("layer2", 2), ("layer3", 3), ("layer4", 4)):
        if f"{layer}.0.conv.weight" in state:
            inner = net.res2net(f"{layer}.1", net.tdnn(f"{layer}.0", torch.stack(outputs).sum(dim=0)), dilation)
            outputs.append(net.gate(f"{layer}.3", net.tdnn(f"{layer}.2", inner)))
    x = torch.relu(net.conv("conv", torch.cat(outputs[1:], dim=1)))
    return net.norm("bn2", net.linear("linear", net.norm("bn1", net.pool(x, x))))
