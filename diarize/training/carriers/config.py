"""How often which carrier is drawn, and how strongly a scene disturbs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class ModeShares:
    """How often `chain` draws each mode, in shares that are brought to a sum of 1.

    The six modes and the defaults are those of the training of the CASE speaker embedding, version 2 (its model card).

    clean: nothing.
    codec: a drawn codec.
    microphone: a drawn microphone.
    codec_microphone: a microphone, then a codec: a call over the network.
    reverb_codec: a reverberant room, then a codec.
    playback: a codec, a loudspeaker, a room, a microphone: a call or a recording that is played to another recorder.
    """

    clean: float = 0.15
    codec: float = 0.10
    microphone: float = 0.10
    codec_microphone: float = 0.15
    reverb_codec: float = 0.25
    playback: float = 0.25

    def __post_init__(self) -> None:
        shares = [float(getattr(self, one.name)) for one in fields(self)]
        if min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(f"the shares of the modes must be 0 or more, and not all 0: {self}")


@dataclass(frozen=True)
class SceneConfig:
    """What `disturb` draws: scenes, in each of which several crops are recorded.

    together: crops that share a scene, so that its channel says nothing about who talks.
    equaliser: dB, the standard deviation of the gain in each octave; slope: the same, of the tilt in dB an octave.
        Both are drawn 0 to 2 times as strong for each scene: some have hardly any channel, some a very bad one.
    band: 0..1, how many scenes are band-limited, below by a drawn 60 to 400 Hz and above by 3 to 7.5 kHz.
    room: 0..1, how many scenes are reverberant.
    open: 0..1, how many scenes have several open microphones, which hear the voice a few ms later and other voices.
    bleed: 0..1, how many crops of such a scene have another voice in them; bleed_level: its level in dB.
    babble: 0..1, how many crops have several voices behind them; babble_snr: dB above them.
    noise: 0..1, how many crops have a noise; snr: dB above it.
    level: dBFS, the range of the crops' RMS, before they are rounded to 16 bits.
    clipping: 0..1, how many crops are clipped, at a drawn 0.3 to 0.9 of their peak.
    """

    together: int = 8
    equaliser: float = 4.0
    slope: float = 2.0
    band: float = 0.5
    room: float = 0.5
    open: float = 0.5
    bleed: float = 0.6
    bleed_level: tuple[float, float] = (-25.0, -5.0)
    babble: float = 0.15
    babble_snr: tuple[float, float] = (5.0, 20.0)
    noise: float = 0.7
    snr: tuple[float, float] = (0.0, 30.0)
    level: tuple[float, float] = (-60.0, -8.0)
    clipping: float = 0.05

    def __post_init__(self) -> None:
        if self.together < 1:
            raise ValueError(f"together must be at least 1, not {self.together}")
        for name in ("equaliser", "slope"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0 dB, not {getattr(self, name)}")
        for name in ("band", "room", "open", "bleed", "babble", "noise", "clipping"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)}")
        for name in ("bleed_level", "babble_snr", "snr", "level"):
            values = getattr(self, name)
            if len(values) != 2 or not values[0] <= values[1]:
                raise ValueError(f"{name} must be a lowest and a highest value in dB, not {values}")


@dataclass(frozen=True)
class CarrierConfig:
    """Everything between a voice and the model that learns it: `modes` for `chain`, `scenes` for `disturb`."""

    modes: ModeShares = field(default_factory=ModeShares)
    scenes: SceneConfig = field(default_factory=SceneConfig)
