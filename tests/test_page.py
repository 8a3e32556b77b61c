"""The page of the live server, in Chromium, against the real server: what is seen is what the server says."""

from __future__ import annotations

import base64
import json
import re
import select
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from diarize.pipeline import SpeakerDiarization
from diarize.rttm import Turn, milliseconds, read_rttm, turns_from
from tests.command import DIARIZE, SAMPLE, write_clip

CHROMIUM = shutil.which("chromium") or ""
SERVE = [*DIARIZE, "serve"]
TOKEN = "open-sesame"  # noqa: S105 - no secret: it is the test's own
CLIP = 14  # seconds: three people
PAGE = Path(__file__).parents[1] / "diarize" / "server" / "page"
HANGING = 30_000  # ms

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("page") / "talk.wav", CLIP)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server in a process of its own."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "token").write_text(TOKEN)
    options = ["--port", "0", "--token-file", str(folder / "token"), "--journal", str(folder / "journal")]
    with subprocess.Popen([*SERVE, *options], stderr=subprocess.PIPE, text=True) as server:
        try:
            yield next(
                int(found[1]) for line in server.stderr or () if (found := re.search(r"listening at .*:(\d+)/", line))
            )
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


def launch(playwright: Playwright, *switches: str) -> Browser:
    usual = ("--no-sandbox", "--use-fake-device-for-media-stream")
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*usual, *switches])


@pytest.fixture(scope="module")
def browser(playwright: Playwright, clip: Path) -> Iterator[Browser]:
    """Its microphone hears the clip, once, from when it is opened."""
    with launch(
        playwright, "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={clip}%noloop"
    ) as started:
        yield started


class Visit:
    """A page that is open, and everything that went on in it."""

    def __init__(self, browser: Browser, port: int, query: str = f"?token={TOKEN}", **options: Any) -> None:
        self.page: Page = browser.new_context(**options).new_page()
        self.said: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.sockets = 0
        self.page.set_default_timeout(HANGING)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page.on("websocket", self._listen)
        self.page.goto(f"http://localhost:{port}/{query}")
        self.expected_host = f"localhost:{port}"

    def _listen(self, websocket: Any) -> None:
        self.sockets += 1
        self.hosts.add(websocket.url.split("/")[2])
        websocket.on("framereceived", lambda text: self.said.append(json.loads(text)))

    def at(self, phase: str) -> None:
        """Wait for a phase of the run."""
        expect(self.page.locator("body")).to_have_attribute("data-phase", phase, timeout=HANGING)

    def play(self, clip: Path, speed: str) -> None:
        """Choose a file."""
        self.page.select_option("#speed", label=speed)
        self.page.set_input_files("#file", clip)

    def download(self, name: str) -> str:
        with self.page.expect_download() as started:
            self.page.get_by_role("button", name=f"Download {name}").click()
        return Path(started.value.path()).read_text()

    @property
    def done(self) -> dict[str, Any]:
        (done,) = (message for message in self.said if message["type"] == "done")
        return done

    def leave(self) -> None:
        """Nothing went wrong on the way, and nothing came from anywhere else."""
        self.page.context.close()
        assert self.complaints == []
        assert self.hosts == {self.expected_host}


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser, port: int) -> Iterator[Open]:
    visits: list[Visit] = []

    def open_page(at: int = port, **options: Any) -> Visit:
        visits.append(Visit(browser, at, **options))
        return visits[-1]

    yield open_page
    for opened in visits:
        opened.leave()


def rttm_turns(text: str, folder: Path) -> list[tuple[int, int, str]]:
    """Turns in milliseconds, as RTTM has them."""
    (folder / "a.rttm").write_text(text)
    turns = [turn for found in read_rttm(folder / "a.rttm").values() for turn in found]
    return [(milliseconds(turn.start), milliseconds(turn.end), turn.speaker) for turn in turns]


def shown_turns(visit: Visit) -> list[tuple[int, int, str]]:
    """The page's own turns, as it has put them together: times in milliseconds, names where there are any."""
    turns = json.loads(visit.download("JSON"))["turns"]
    return sorted(
        (round(1000 * turn["start"]), round(1000 * turn["end"]), turn["name"] or turn["speaker"]) for turn in turns
    )


def drawn_turns(visit: Visit, scale: float) -> list[tuple[int, int, str]]:
    """The turns as bars of the timeline: times to the pixel."""
    bars = visit.page.locator(".turn").evaluate_all(
        "bars => bars.map(bar => [parseFloat(bar.style.left), parseFloat(bar.style.width) + 1,"
        " bar.closest('.lane').querySelector('.lane-name').textContent])"
    )
    return sorted(
        (round(1000 * left / scale), round(1000 * (left + width) / scale), name) for left, width, name in bars
    )


def same_answer(visit: Visit, folder: Path) -> list[tuple[int, int, str]]:
    """Hold the page to the server's final RTTM, everywhere where it shows turns; gives them."""
    final = rttm_turns(visit.done["rttm"], folder)
    assert final
    assert visit.download("RTTM") == visit.done["rttm"]
    assert shown_turns(visit) == final
    last = visit.page.locator(".turn").evaluate_all("bars => Math.max(...bars.map(bar => parseFloat(bar.style.left)))")
    scale = 1000 * last / max(start for start, _, _ in final)
    drawn = drawn_turns(visit, scale)
    assert np.allclose([turn[:2] for turn in drawn], [turn[:2] for turn in final], atol=2000 / scale)
    titles = [re.sub(r"^SPEAKER_(\d+)$", lambda label: f"Speaker {int(label[1]) + 1}", name) for _, _, name in final]
    assert [name for _, _, name in drawn] == titles
    listed = visit.page.locator("#turns .who").all_inner_texts()
    assert listed == titles[::-1]
    subtitles = visit.download("SRT").split("\n\n")
    assert [cue.splitlines()[2] for cue in subtitles] == titles
    assert len({name for _, _, name in final}) == len(visit.page.locator("#speaker-list li:visible").all())
    return final


@pytest.fixture(scope="module")
def offline(clip: Path) -> list[Turn]:
    return turns_from(SpeakerDiarization().diarize(clip).updates)


def test_what_the_microphone_hears(visit: Open, tmp_path: Path) -> None:
    talk = visit()
    talk.page.get_by_role("button", name="Start listening").press("Enter")
    talk.at("live")
    expect(talk.page.locator("#spoken")).to_have_text("Speaker 1 speaking", timeout=HANGING)
    assert talk.page.locator("#level").get_attribute("role") == "meter"
    expect(talk.page.locator("#time")).to_have_text("0:08", timeout=HANGING)
    assert json.loads(talk.download("JSON"))["final"] is False
    assert rttm_turns(talk.download("RTTM"), tmp_path)
    talk.page.keyboard.press("e")
    talk.at("done")
    final = same_answer(talk, tmp_path)
    assert len({name for _, _, name in final}) == 2
    assert max(end for _, end, _ in final) <= 1000 * talk.done["audio_s"]
    assert talk.page.evaluate("navigator.mediaDevices.enumerateDevices().then(all => all.length)") > 0
    assert len(talk.page.locator("#device option").all()) > 1  # it was allowed, so the devices have names now


DROP = """async ([name, data]) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt());
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


def test_a_dropped_file_gives_the_offline_turns(visit: Open, clip: Path, offline: list[Turn], tmp_path: Path) -> None:
    talk = visit()
    talk.page.select_option("#speed", label="As fast as it goes")
    talk.page.evaluate(DROP, [clip.name, base64.b64encode(clip.read_bytes()).decode()])
    talk.at("done")
    final = same_answer(talk, tmp_path)
    assert [turn[:2] for turn in final] == [(milliseconds(turn.start), milliseconds(turn.end)) for turn in offline]
    pairs = {(name, turn.speaker) for (_, _, name), turn in zip(final, offline, strict=True)}
    assert len(pairs) == len({name for name, _ in pairs}) == len({speaker for _, speaker in pairs}) == 3
    assert talk.done["rttm"].startswith("SPEAKER talk 1 ")
    # and another one, without loading the page again
    talk.said.clear()
    talk.page.get_by_role("button", name="New recording").click()
    talk.play(clip, "As fast as it goes")
    talk.at("done")
    assert same_answer(talk, tmp_path) == final


def rename(page: Page, place: int, name: str) -> None:
    page.keyboard.press(str(place))
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=f"Rename {name}")).to_be_focused(timeout=HANGING)


def merge_first_two(page: Page) -> None:
    page.keyboard.press("m")
    page.keyboard.press("Enter")  # the first is focused
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Merge", exact=True)).to_be_focused(timeout=HANGING)
    page.keyboard.press("Enter")


def test_names_and_merges_by_keyboard(visit: Open, tmp_path: Path) -> None:
    talk = visit()
    talk.play(SAMPLE, "4 times faster")
    talk.page.get_by_role("button", name="Rename Speaker 2").wait_for()
    rename(talk.page, 2, "Ana Maria")
    merge_first_two(talk.page)
    expect(talk.page.locator("#speaker-list [data-speaker=SPEAKER_01]")).to_be_hidden(timeout=HANGING)
    talk.page.keyboard.press("e")
    talk.at("done")
    final = same_answer(talk, tmp_path)
    names = {name for _, _, name in final}
    assert "Ana Maria" in names
    assert not names & {"SPEAKER_00", "SPEAKER_01"}
    assert {m["event"] for m in talk.said if m["type"] == "speaker"} == {"new", "renamed", "merged"}
    assert " Ana%20Maria " in talk.done["rttm"]


def test_names_and_merges_after_the_end(visit: Open, clip: Path, tmp_path: Path) -> None:
    talk = visit()
    talk.play(clip, "As fast as it goes")
    talk.at("done")
    rename(talk.page, 2, 'B "Ben" 50%')
    written = talk.download("RTTM")
    assert written == talk.done["rttm"].replace("SPEAKER_01", "B%20%22Ben%22%2050%25")
    merge_first_two(talk.page)
    expect(talk.page.locator("#speaker-list li:visible")).to_have_count(2, timeout=HANGING)
    names = [name for _, _, name in rttm_turns(talk.download("RTTM"), tmp_path)]
    assert names == [name for _, _, name in shown_turns(talk)] == ['B "Ben" 50%', 'B "Ben" 50%', "SPEAKER_02"]


class Proxy:
    """Passes bytes on to the server, and cuts every connection after so many bytes from the client, once."""

    def __init__(self, port: int, cut_after: int) -> None:
        self.target, self.left = port, cut_after
        self.was_cut = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)  # or the thread that waits for a connection gets one more
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with closing(client), socket.create_connection(("127.0.0.1", self.target)) as server:
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    try:
                        data = ready.recv(65536)
                        if not data:
                            return
                        (server if ready is client else client).sendall(data)
                    except OSError:
                        return
                    if ready is client and not self.was_cut:
                        self.left -= len(data)
                        self.was_cut = self.left <= 0
                        if self.was_cut:
                            return


@pytest.fixture
def proxy(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port, cut_after=9 * 32_000)  # nine seconds of audio
    yield proxy
    if proxy.listener.fileno() >= 0:
        proxy.close()


def test_a_broken_connection_changes_nothing(
    visit: Open, proxy: Proxy, clip: Path, offline: list[Turn], tmp_path: Path
) -> None:
    talk = visit(at=proxy.port)
    talk.play(clip, "4 times faster")
    talk.page.get_by_role("button", name="Rename Speaker 1").wait_for()
    rename(talk.page, 1, "Ana")
    talk.at("done")
    ready = [message for message in talk.said if message["type"] == "ready"]
    assert [message["resumed"] for message in ready] == [False, True]
    assert talk.sockets >= 2  # more while the server has not noticed yet that the first one broke
    final = same_answer(talk, tmp_path)
    assert [turn[:2] for turn in final] == [(milliseconds(turn.start), milliseconds(turn.end)) for turn in offline]
    assert {name for _, _, name in final} == {"Ana", "SPEAKER_01", "SPEAKER_02"}


def test_without_the_token_it_asks_for_it(visit: Open, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "talk.wav", 3)
    talk = visit(query="")
    talk.play(clip, "As fast as it goes")
    expect(talk.page.get_by_role("alert")).to_contain_text("wants its token", timeout=HANGING)
    expect(talk.page.get_by_label("Only if the server asks for one")).to_be_focused()
    talk.page.keyboard.type(TOKEN)
    talk.play(clip, "As fast as it goes")
    talk.at("done")
    expect(talk.page.get_by_role("alert")).to_be_empty()


def test_what_is_no_audio(visit: Open, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_text("no audio")
    talk = visit()
    talk.play(tmp_path / "talk.wav", "As fast as it goes")
    expect(talk.page.get_by_role("alert")).to_contain_text("cannot be decoded", timeout=HANGING)
    talk.at("idle")


def test_a_refused_microphone(playwright: Playwright, port: int) -> None:
    with launch(playwright, "--use-fake-ui-for-media-stream=deny") as browser:
        talk = Visit(browser, port)
        talk.page.keyboard.press("s")
        expect(talk.page.get_by_role("alert")).to_contain_text("microphone was refused", timeout=HANGING)
        expect(talk.page.get_by_role("button", name="Start listening")).to_be_focused()
        talk.leave()


def test_a_server_that_is_gone(browser: Browser, proxy: Proxy, clip: Path) -> None:
    talk = Visit(browser, proxy.port)
    talk.page.wait_for_load_state("networkidle")
    proxy.close()
    talk.play(clip, "As fast as it goes")
    expect(talk.page.get_by_role("alert")).to_contain_text("server did not answer", timeout=HANGING)
    (complaint,) = talk.complaints  # the browser's own
    assert "WebSocket connection" in complaint


NAMED = {"button", "combobox", "slider", "checkbox", "textbox", "meter", "region", "dialog", "DisclosureTriangle"}


def unnamed(page: Page) -> list[str]:
    """The controls without an accessible name, as the browser tells them to a screen reader."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    found = [node for node in nodes if not node["ignored"] and node["role"]["value"] in NAMED]
    assert {node["role"]["value"] for node in found} >= {"button"}
    return [str(node) for node in found if not node.get("name", {}).get("value")]


def unreached(page: Page) -> set[str]:
    """The controls in sight that Tab does not come to; where it comes, the focus is to be seen."""
    controls = "button, select, input, summary, [tabindex='0']"
    sight = page.evaluate(
        "(controls) => [...document.querySelectorAll(controls)].filter((control) => control.checkVisibility()"
        " && !control.disabled).map((control, number) => (control.dataset.number = String(number)))",
        controls,
    )
    reached = set()
    for _ in range(2 * len(sight)):
        page.keyboard.press("Tab")
        number, outline = page.evaluate(
            "() => [document.activeElement.dataset.number, getComputedStyle(document.activeElement).outlineStyle]"
        )
        if number is not None:
            assert outline == "solid"
            reached.add(number)
    return set(sight) - reached


def test_everything_has_a_name_and_a_key_and_room_on_a_phone(visit: Open, tmp_path: Path) -> None:
    talk = visit(viewport={"width": 360, "height": 740})
    wide = "document.documentElement.scrollWidth"
    assert unnamed(talk.page) == []
    assert unreached(talk.page) == set()
    assert talk.page.evaluate(wide) == 360
    talk.page.keyboard.press("?")
    assert talk.page.get_by_role("dialog", name="Keyboard").is_visible()
    assert unnamed(talk.page) == []
    assert talk.page.evaluate(wide) == 360
    talk.page.keyboard.press("Escape")
    talk.play(write_clip(tmp_path / "talk.wav", 9), "As fast as it goes")
    talk.at("done")
    rename(talk.page, 1, "A name so long that no phone could ever have room for it")
    talk.page.keyboard.press("m")
    assert unnamed(talk.page) == []
    assert unreached(talk.page) == set()
    assert talk.page.evaluate(wide) == 360


def test_shortcuts_can_be_turned_off(visit: Open) -> None:
    talk = visit(color_scheme="dark")
    root = talk.page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    talk.page.keyboard.press("t")
    expect(root).to_have_attribute("data-theme", "light")
    talk.page.keyboard.press("?")
    talk.page.get_by_label("Use these keys").uncheck()
    talk.page.keyboard.press("Escape")
    talk.page.keyboard.press("t")
    expect(root).to_have_attribute("data-theme", "light")
    talk.page.reload()
    expect(root).to_have_attribute("data-theme", "light")  # it is remembered


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
SIGHT = {
    "full": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# Ottosson (2020), Oklab
TO_LMS = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def linear(colour: str) -> NDArray[np.float64]:
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_apart(theme: int) -> None:
    style = (PAGE / "page.css").read_text()
    pairs = dict(re.findall(r"--(\w+(?:-\w+)?): light-dark\((#\w+, #\w+)\)", style))
    card = linear(pairs["card"].split(", ")[theme])
    voices = [linear(pair.split(", ")[theme]) for pair in re.findall(r"--voice: light-dark\((#\w+, #\w+)\)", style)]
    assert len(voices) == 8

    def contrast(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:  # WCAG 2.2
        low, high = sorted(float(np.dot([0.2126, 0.7152, 0.0722], colour)) for colour in (one, other))
        return (high + 0.05) / (low + 0.05)

    assert min(contrast(voice, card) for voice in voices) >= 3
    for text in ("text", "soft", "accent", "good", "warn", "bad"):
        assert contrast(linear(pairs[text].split(", ")[theme]), card) >= 4.5
    for sight, matrix in SIGHT.items():
        seen = np.clip(np.array(voices) @ np.array(matrix).T, 0, 1)
        lab = np.cbrt(seen @ np.array(TO_LMS).T) @ np.array(TO_LAB).T
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(8, 1)]
        assert apart.min() > 0.08, sight  # in Oklab, where 0.02 is just noticeable


def test_the_server_lets_the_page_load_only_from_itself(port: int) -> None:
    with urllib.request.urlopen(f"http://localhost:{port}/") as response:
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy or "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""\bon\w+=|style=|<script(?![^>]*\bsrc=")""", (PAGE / "index.html").read_text())
