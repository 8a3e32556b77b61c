"""The microphone through real PortAudio: which device is meant, what cannot be opened, and audio that is lost."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from diarize.audio import AudioError
from diarize.microphone.device import NO_MICROPHONE, Device, choose
from diarize.microphone.portaudio import NO_LIBRARY
from diarize.sources import read
from diarize.types import SAMPLE_RATE
from tests.command import DIARIZE, Done, process, write_clip
from tests.pulse import PATIENCE, Listener, Pulse, delay, pulse

BUILT_IN = Device(0, "Built-in Microphone", "Core Audio", 48_000.0, default=False)
HEADSET = Device(3, "USB Headset", "Core Audio", 16_000.0, default=True)
HEADSET_AGAIN = Device(7, "USB Headset", "JACK", 44_100.0, default=False)
SEVERAL = [BUILT_IN, HEADSET, HEADSET_AGAIN]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (None, HEADSET),
        ("0", BUILT_IN),
        ("7", HEADSET_AGAIN),
        ("Built-in Microphone", BUILT_IN),
        ("USB Headset, JACK", HEADSET_AGAIN),
        ("built", BUILT_IN),
        ("headset, core", HEADSET),
        ("jack", HEADSET_AGAIN),
    ],
)
def test_a_device_is_meant_by_number_name_or_part(wanted: str | None, meant: Device) -> None:
    assert choose(SEVERAL, wanted) is meant


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ("USB Headset", "several devices are called 'USB Headset': give the number of 3 USB Headset, Core Audio; 7"),
        ("usb", "several devices are called 'usb': give the number of 3 USB Headset, Core Audio; 7 USB Headset, JACK"),
        ("nobody", "no device 'nobody' to record from: choose one of 0 Built-in Microphone, Core Audio; 3 USB"),
        ("1", "no device '1' to record from"),
        ("", "no device '' to record from"),
    ],
)
def test_a_device_that_is_not_clear(wanted: str, problem: str) -> None:
    with pytest.raises(AudioError) as caught:
        choose(SEVERAL, wanted)
    assert str(caught.value).startswith(problem)


def test_without_a_default_the_first_is_taken_and_without_any_none() -> None:
    assert choose([BUILT_IN, HEADSET_AGAIN]) is BUILT_IN
    for wanted in (None, "usb"):
        with pytest.raises(AudioError, match="no microphone here: plug one in, or"):
            choose([], wanted)


def test_portaudio_is_loaded_when_it_is_needed() -> None:
    program = "import sys, diarize.microphone.listening; print('sounddevice' in sys.modules)"
    assert process(program=[sys.executable, "-c", program]).out == "False\n"


def test_without_portaudio_the_remedy_is_told() -> None:
    program = "import ctypes.util; ctypes.util.find_library = lambda name: None; from diarize.cli import main; main()"
    done = process("mic", program=[sys.executable, "-c", program])
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {NO_LIBRARY}\n"


HEAR = """
import json, signal, sys, time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from diarize.microphone import device as microphone
from diarize.microphone.device import Microphone, choose, devices
from diarize.audio import to_pcm
from diarize.microphone.recording import Recording
file, rate, backlog, pause = sys.argv[1], *map(float, sys.argv[2:])
microphone.BACKLOG = backlog
with Microphone(replace(choose(devices()), rate=rate)) as device, closing(Recording(Path(file))) as recording:
    signal.signal(signal.SIGINT, lambda *_: device.stop())
    end = 0
    for chunk in device.chunks():
        assert chunk.position == end
        end += len(chunk.samples)
        recording.write(to_pcm(chunk.samples))
        if pause and end > 4 * 16_000:
            time.sleep(pause)
            pause = 0
    print(json.dumps({"gaps": device.gaps, "lost": device.lost, "heard": device.heard, "end": end}))
"""
"""Records to a file at a rate; pauses for so many seconds after 4 s, where there is room for `backlog` seconds."""


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulse]:
    """What is played here is heard by the microphone."""
    with pulse(tmp_path_factory.mktemp("pulse")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def recorded(speaker: Pulse, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Done, Path]]:
    """What programs did that lost some of a conversation of 12.5 s, and what they recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    program = (sys.executable, "-c", HEAR, "heard.flac")
    listeners = {
        # at 192 kHz PulseAudio keeps about five seconds for who does not fetch them
        "stopped": Listener(speaker, folder / "stopped", *program, "192000", "30", "0"),
        "slow": Listener(speaker, folder / "slow", *program, "44100", "2", "4"),
    }
    speaker.wait_for_listeners(len(listeners))
    playing = Thread(target=speaker.play, args=(write_clip(folder / "clip.wav", 12.5),))
    playing.start()
    time.sleep(2.5)
    listeners["stopped"].process.send_signal(signal.SIGSTOP)
    time.sleep(8.5)
    listeners["stopped"].process.send_signal(signal.SIGCONT)
    playing.join()
    time.sleep(1)
    for listener in listeners.values():
        listener.interrupt()
    return {name: (listener.ended(), folder / name / "heard.flac") for name, listener in listeners.items()}


@pytest.mark.parametrize(("name", "after"), [("stopped", 11.3), ("slow", 10.5)])
def test_what_is_lost_is_silence_and_positions_stay_true(
    recorded: dict[str, tuple[Done, Path]], name: str, after: float
) -> None:
    done, recording = recorded[name]
    assert done.code == 0
    said = json.loads(done.out)
    assert said["gaps"] == 1
    assert said["lost"] > 0.5
    assert said["end"] == pytest.approx(said["heard"], abs=2)
    warning = rf"default: {said['lost']:.2f} s of audio were lost after \d+\.\d s and are taken as silence"
    assert re.search(warning, done.err)
    assert delay(recording, after, 12.4) == pytest.approx(delay(recording, 0.3, 2.3), abs=0.05)
    sound = np.flatnonzero(read(recording))
    assert np.diff(sound).max() >= (said["lost"] - 0.1) * SAMPLE_RATE


REFUSED = """
from dataclasses import replace
from diarize.microphone.device import Microphone, choose, devices
there = choose(devices())
for device in (replace(there, rate=999.0), choose(devices(), "broken"), replace(there, number=99)):
    try:
        with Microphone(device) as microphone:
            print(device.rate, "->", microphone.rate, len(next(microphone.chunks()).samples) > 0)
    except ValueError as error:
        print(error)
"""


def test_a_rate_that_is_refused(speaker: Pulse) -> None:
    done = speaker.run(sys.executable, "-c", REFUSED)
    rate, broken, gone = done.out.splitlines()
    assert rate == "999.0 -> 16000.0 True"
    remedy = "end other programs that use it, or choose another --device"
    assert broken == (
        "broken, ALSA cannot be opened (at 44,100 Hz: Input/output error; at 16,000 Hz: Input/output error): " + remedy
    )
    assert re.fullmatch(rf"default, ALSA cannot be opened \(at 44,100 Hz: .*99; at 16,000 Hz: .*99\): {remedy}", gone)
    assert done.err == ""


FALLS_SILENT = """
from diarize.microphone.device import Microphone, choose, devices
with Microphone(choose(devices())) as microphone:
    try:
        for chunk in microphone.chunks():
            print(chunk.position, flush=True)
    except ValueError as error:
        print(error)
"""


def test_a_sound_system_that_hangs_is_given_up(tmp_path: Path) -> None:
    with pulse(tmp_path) as daemon:
        with daemon.started(sys.executable, "-c", FALLS_SILENT) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "0\n"
            daemon.hang()
            out, _ = program.communicate(timeout=PATIENCE)
        assert out.splitlines()[-1] == "default, ALSA gives no more audio: was it unplugged?"
        assert program.returncode == 0


def test_devices_are_listed(speaker: Pulse) -> None:
    done = speaker.run(*DIARIZE, "mic", "--list-devices")
    assert (done.code, done.err) == (0, "")
    names = [line.split(maxsplit=1)[1] for line in done.out.splitlines()]
    assert sorted(names) == ["broken, ALSA", "default, ALSA (default)", "pulse, ALSA"]


def test_an_unknown_device_is_told_with_those_that_are_there(speaker: Pulse) -> None:
    done = speaker.run(*DIARIZE, "mic", "--device", "headset")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(
        r"error: no device 'headset' to record from: choose one of 0 broken, ALSA; 1 pulse, ALSA; 2 default, ALSA\n",
        done.err,
    )


def test_without_a_device_the_remedy_is_told(speaker: Pulse) -> None:
    done = speaker.run(*DIARIZE, "mic", PULSE_SERVER="unix:/nowhere")
    assert done == Done(2, "", f"error: {NO_MICROPHONE}\n")
