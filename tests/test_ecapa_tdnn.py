from __future__ import annotations

import pytest
import torch
from torch import nn

from diarize.models.ecapa_tdnn import EcapaConfig, EcapaTdnn, Res2Net, statistics
from tests.peers import speechbrain

SMALL = EcapaConfig(channels=32, mfa_channels=48, attention=8, squeeze=8, scale=4, embedding=12)
CONFIGS = [
    SMALL,
    EcapaConfig(channels=64, mfa_channels=192, attention=128, squeeze=128, scale=8, embedding=192),
    EcapaConfig(channels=256, mfa_channels=768),
    EcapaConfig(channels=1024, mfa_channels=3072),
]


def randomise(network: nn.Module) -> None:
    """Random statistics and gains for every batch norm: fresh ones change nothing, and would hide a misplaced one."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0.0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0.0, 0.3, generator=generator)


def random_network(config: EcapaConfig = SMALL) -> EcapaTdnn:
    torch.manual_seed(0)
    network = EcapaTdnn(config)
    randomise(network)
    return network.eval()


def features(*shape: int) -> torch.Tensor:
    return 10.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"c{c.channels}")
def test_equals_speechbrain(config: EcapaConfig) -> None:
    reference = speechbrain("lobes.models.ECAPA_TDNN").ECAPA_TDNN(
        80,
        lin_neurons=config.embedding,
        channels=[*[config.channels] * 4, config.mfa_channels],
        attention_channels=config.attention,
        res2net_scale=config.scale,
        se_channels=config.squeeze,
    )
    network = random_network(config)
    reference.load_state_dict(network.state_dict(), strict=True)
    with torch.inference_mode():
        x = features(3, 57, 80)
        expected, got = reference.eval()(x)[:, 0], network(x)
    assert got.shape == (3, config.embedding)
    # relative to the largest number, as the embedding's length means nothing
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_published_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = EcapaTdnn(EcapaConfig())
    assert sum(p.numel() for p in network.parameters()) == 20_767_552


def test_each_utterance_is_alone_in_its_batch() -> None:
    network, x = random_network(), features(4, 40, 80)
    with torch.inference_mode():
        together = network(x)
        other = x.roll(1, dims=0)
        other[0] = 0.0
        assert torch.equal(network(other)[1:], together[:3])


def test_the_first_chunk_of_a_res2net_goes_through_untouched() -> None:
    block = Res2Net(32, scale=4, dilation=2).eval()
    x = torch.randn(2, 32, 20)
    with torch.inference_mode():
        y = block(x)
    assert torch.equal(y[:, :8], x[:, :8])
    assert not torch.equal(y[:, 8:], x[:, 8:])


def test_a_constant_utterance_stays_constant_to_its_ends() -> None:
    """Mirrored ends: with zeros beyond them, the frames near the ends would differ."""
    network = random_network()
    with torch.inference_mode():
        x = features(1, 1, 80).transpose(1, 2).expand(-1, -1, 30)
        for block in network.blocks:
            x = block(x)
    assert (x - x[:, :, :1]).abs().max() < 1e-5


def test_statistics_are_the_mean_and_the_deviation() -> None:
    x = torch.randn(2, 5, 50)
    mean, deviation = statistics(x, torch.tensor(1 / 50)).chunk(2, dim=1)
    assert mean[..., 0].numpy() == pytest.approx(x.mean(dim=2).numpy(), abs=1e-5)
    assert deviation[..., 0].numpy() == pytest.approx(x.std(dim=2, correction=0).numpy(), abs=1e-5)


def test_it_learns() -> None:
    torch.manual_seed(0)
    network, x = EcapaTdnn(SMALL).train(), features(8, 30, 80)
    goals = torch.nn.functional.normalize(torch.randn(8, 12), dim=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = 1 - torch.cosine_similarity(network(x), goals).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_gradients_stay_finite_where_a_channel_is_constant() -> None:
    network = random_network().train()
    loss = network(torch.zeros(2, 20, 80)).square().sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("widths", "named"),
    [({"channels": 0}, "channels"), ({"scale": 1}, "scale"), ({"channels": 30, "scale": 8}, "scale")],
)
def test_impossible_widths_are_refused(widths: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        EcapaConfig(**widths)
