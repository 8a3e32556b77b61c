"""The page to listen by, in Chromium, from a file: what is seen and heard is what was given."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, Position, expect, sync_playwright

from diarize.audio import AudioError
from diarize.plot import write_page
from diarize.plot.sound import encode_mp3
from diarize.rttm import Turn, read_rttms
from diarize.sources import open_source
from diarize.types import AudioChunk, EmbeddingWindow
from tests.command import SAMPLE
from tests.report import photograph

CHROMIUM = shutil.which("chromium") or ""
REPORT = Path(__file__).parents[1] / "docs" / "report.png"
SECOND = 16_000
HANGING = 30_000  # ms
HOSTILE = "</script><img src=x onerror=document.title='hacked'><script>document.title='hacked'</script>"

in_chromium = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(round(start * SECOND), round(end * SECOND), speaker)


def tone(seconds: float) -> Iterator[AudioChunk]:
    """A tone in the odd seconds, silence in the even ones."""
    times = np.arange(round(seconds * SECOND)) / SECOND
    samples = np.where(times.astype(int) % 2 == 1, 0.5 * np.sin(2 * np.pi * 440 * times), 0).astype(np.float32)
    for start in range(0, len(samples), 7_000):
        yield AudioChunk(start, samples[start : start + 7_000])


def talk(count: int) -> list[EmbeddingWindow]:
    """Windows of a second, by two voices in turn, each for five seconds."""
    chance = np.random.default_rng(0)
    means = chance.standard_normal((2, 16))
    windows = []
    for at in range(count):
        embedding = means[at // 5 % 2] + 0.2 * chance.standard_normal(16)
        bounds = (at * SECOND, (at + 1) * SECOND)
        windows.append(
            EmbeddingWindow(*bounds, (bounds,), at, (embedding / np.linalg.norm(embedding)).astype("f4"), 1.0)
        )
    return windows


ANSWER = [turn(0, 5, "Ana"), turn(5, 10, "Bob"), turn(10, 15, "Ana"), turn(14, 20, "Bob")]
TRUTH = [turn(0, 5, "one"), turn(5, 11, "two"), turn(11, 15, "one"), turn(16, 20, "two"), turn(18, 19, "three")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with (
        sync_playwright() as started,
        started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        ) as launched,
    ):
        yield launched


Open = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Writes a page and opens it; at the end, nothing has been complained about and nothing asked for."""
    complaints: list[str] = []
    asked: list[str] = []
    pages: list[Page] = []

    def opened(turns: list[Turn], options: dict[str, Any] | None = None, **given: Any) -> Page:
        file = tmp_path / "page.html"
        write_page(turns, path=file, **given)
        page = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **(options or {})}).new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert complaints == []
    assert {url.split(":")[0] for url in asked} <= {"file", "blob"}
    assert sum(url.startswith("file:") for url in asked) == len(pages)


def pixels_a_second(page: Page) -> float:
    scale: float = page.evaluate(
        "(parseFloat(document.querySelector('.stage').style.width) - 12 - document.querySelector('.axis').offsetLeft)"
        " / JSON.parse(document.getElementById('content').textContent).duration"
    )
    return scale


def bars(page: Page) -> dict[str, list[tuple[float, float]]]:
    """The bars of each lane in the order of the page, in seconds."""
    scale = pixels_a_second(page)
    lanes = page.locator(".lane").evaluate_all(
        "lanes => lanes.map(lane => [lane.querySelector('.lane-name').textContent,"
        " [...lane.querySelectorAll('.turn')].map(bar => [parseFloat(bar.style.left), parseFloat(bar.style.width)])])"
    )
    return {
        name or f"errors {number}": [(left / scale, (left + wide) / scale) for left, wide in found]
        for number, (name, found) in enumerate(lanes)
    }


def shown_time(page: Page) -> float:
    minutes, seconds = page.inner_text("#time").split(":")
    return 60 * int(minutes) + float(seconds)


def lane(page: Page, name: str) -> Any:
    return page.locator(".lane", has=page.get_by_text(name, exact=True))


def speaking(page: Page) -> list[str]:
    return page.locator(".lane.speaks .lane-name").all_inner_texts()


@in_chromium
def test_turns_lie_where_they_are_and_a_click_goes_to_their_start(visit: Open) -> None:
    page = visit(ANSWER, audio=tone(20), title="two people")
    assert page.title() == page.inner_text("h1") == "two people"
    assert page.inner_text("#facts") == "2 speakers · 4 turns"
    drawn = bars(page)
    assert list(drawn) == ["Ana", "Bob"]
    assert np.allclose(drawn["Ana"], [(0, 5), (10, 15)], atol=0.02)
    assert np.allclose(drawn["Bob"], [(5, 10), (14, 20)], atol=0.02)
    assert page.locator(".speaker .share").all_inner_texts() == ["48 % · 0:10", "52 % · 0:11"]
    lane(page, "Bob").locator(".turn").first.click()
    assert page.inner_text("#time") == "0:05.0"
    assert speaking(page) == ["Bob"]
    lane(page, "Bob").locator(".turn").last.click()
    assert page.inner_text("#time") == "0:14.0"
    assert speaking(page) == ["Ana", "Bob"]
    assert page.inner_text("#now") == "Ana and Bob"
    assert page.locator(".speaker.speaks .name").all_inner_texts() == ["Ana", "Bob"]
    track = lane(page, "Ana").locator(".track")
    box = track.bounding_box()
    track.click(position={"x": (box["width"] - 12) * 17 / 20, "y": 10})  # where Ana is silent
    assert shown_time(page) == pytest.approx(17, abs=0.1)
    assert speaking(page) == ["Bob"]


@in_chromium
def test_it_plays_and_the_playhead_moves(visit: Open) -> None:
    page = visit(ANSWER, audio=tone(20))
    place = "new DOMMatrix(getComputedStyle(document.querySelector('.playhead')).transform).m41"
    before = page.evaluate(place)
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.locator("#time")).to_have_text(re.compile(r"0:0(0\.[3-9]|[1-9])"), timeout=HANGING)
    page.keyboard.press(" ")  # the focused button takes it: once, not twice
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    heard, moved = page.evaluate(f"[parseFloat(document.getElementById('time').textContent.split(':')[1]), {place}]")
    assert heard < 10
    scale = pixels_a_second(page)
    assert (moved - before) / scale == pytest.approx(heard, abs=0.15)
    page.select_option("#speed", "2")
    page.locator("h1").click()
    lane(page, "Bob").locator(".turn").first.click()
    page.keyboard.press(" ")
    expect(page.locator(".lane.speaks .lane-name")).to_have_text(["Bob"], timeout=HANGING)
    expect(page.locator(".lane.speaks .lane-name")).to_have_text(["Ana"], timeout=HANGING)  # as time goes by
    page.keyboard.press(" ")
    assert 10 <= shown_time(page) < 14


@in_chromium
def test_keys(visit: Open) -> None:
    page = visit(ANSWER, audio=tone(20), reference=TRUTH)
    times = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
        times.append(shown_time(page))
    assert times == [5, 10, 5, 10, 14, 14]
    for expected in (10, 5, 0, 0):
        page.keyboard.press("Shift+ArrowLeft")
        assert shown_time(page) == expected
    page.keyboard.press("ArrowLeft")
    assert shown_time(page) == 0
    errors = []
    for _ in range(5):
        page.keyboard.press("e")
        errors.append(shown_time(page))
    assert errors == [10, 14, 15, 18, 10]
    whole = pixels_a_second(page)
    page.keyboard.press("+")
    assert pixels_a_second(page) > 1.3 * whole
    page.keyboard.press("0")
    assert pixels_a_second(page) == pytest.approx(whole)
    page.keyboard.press("-")  # no further than everything
    assert pixels_a_second(page) == pytest.approx(whole)


@in_chromium
def test_a_reference_stands_above_with_the_errors_below(visit: Open) -> None:
    page = visit(ANSWER, reference=TRUTH)
    drawn = bars(page)
    assert list(drawn) == ["one", "two", "three", "Ana", "Bob", "errors 5", "errors 6", "errors 7"]
    miss, false_alarm, confusion = (drawn[f"errors {number}"] for number in (5, 6, 7))
    assert np.allclose(miss, [(18, 19)], atol=0.02)
    assert np.allclose(false_alarm, [(14, 16)], atol=0.02)
    assert np.allclose(confusion, [(10, 11)], atol=0.02)
    assert page.locator(".group").all_inner_texts() == ["reference", "hypothesis", "errors"]
    assert re.fullmatch(r"2 speakers · 4 turns · strict DER 20.0%, lenient DER \d+\.\d%", page.inner_text("#facts"))
    colours = page.locator(".lane").evaluate_all("lanes => lanes.map(lane => lane.style.getPropertyValue('--voice'))")
    assert colours[:5] == ["#0072b2", "#e69f00", "#b8b8b8", "#0072b2", "#e69f00"]
    assert page.get_by_role("button", name="Play").count() == 0  # nothing to play
    lane(page, "Bob").locator(".turn").first.click()  # and yet a place to look at
    assert page.inner_text("#now") == "Bob"


@in_chromium
def test_hostile_names_are_text(visit: Open) -> None:
    turns = [turn(0, 1, HOSTILE), turn(1, 2, "{{sound}}"), turn(2, 3, "\udcff & <b>"), turn(3, 4, "")]
    page = visit(turns, title=HOSTILE, reference=[turn(0, 1, HOSTILE)], audio=tone(4), windows=talk(4))
    assert page.title() == page.inner_text("h1") == HOSTILE
    assert page.locator("img").count() == 0
    names = page.locator(".speaker .name").all_inner_texts()
    assert names == [HOSTILE, "{{sound}}", "\udcff & <b>", "(no name)"]
    assert page.locator("script").count() == 3


@in_chromium
def test_no_other_script_runs(browser: Browser, tmp_path: Path) -> None:
    write_page(ANSWER, path=tmp_path / "x.html", title="a talk")
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto((tmp_path / "x.html").as_uri())
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p id=trap onclick=\"document.title=1\">trap</p>')")
    page.locator("#trap").click()
    page.evaluate("fetch('https://example.org/').catch(() => 0)")
    assert page.title() == "a talk"
    assert sum("Content Security Policy" in complaint for complaint in complaints) >= 2
    page.context.close()


@in_chromium
def test_voices_can_be_seen_and_gone_to(visit: Open) -> None:
    page = visit(ANSWER, audio=tone(20), windows=talk(20))
    matrix, says = page.locator("#matrix"), page.locator("#matrix-says")
    across = matrix.evaluate("canvas => canvas.getBoundingClientRect().width")
    before = 1.5 / 30 / (1 + 1.5 / 30)  # the strip and its gap

    def at(column: float, row: float) -> Position:
        x, y = (across * (before + (1 - before) * (one + 0.5) / 20) for one in (column, row))
        return {"x": x, "y": y}

    matrix.hover(position=at(2, 11))
    told = re.fullmatch(r"Ana at 0:02\.0 and Ana at 0:11\.0: cosine (0\.\d\d)", says.inner_text())
    assert told
    windows = talk(20)
    assert float(told[1]) == pytest.approx(float(windows[2].embedding @ windows[11].embedding), abs=0.01)
    matrix.click(position=at(7, 11))
    assert shown_time(page) == 7
    matrix.click(position=at(7, 11))
    assert shown_time(page) == 11
    page.get_by_label("by speaker").check()
    matrix.hover(position=at(5, 18))  # Ana's sixth window and Bob's last; where both talk is after them
    assert says.inner_text().startswith("Ana at 0:10.0 and Bob at 0:19.0: cosine ")
    points = json.loads(page.locator("#content").text_content() or "")["voices"]["points"]
    room = page.locator("#map").evaluate("canvas => canvas.getBoundingClientRect().width") - 32
    for window in (3, 8):
        x, y = points[window]
        page.locator("#map").click(position={"x": 16 + x * room, "y": 16 + (1 - y) * room})
        assert shown_time(page) == window
        assert page.inner_text("#map-says") == f"{'Ana' if window < 5 else 'Bob'} at 0:0{window}.0"


@in_chromium
def test_a_recording_without_speech(visit: Open) -> None:
    page = visit([], audio=tone(3), reference=[])
    assert page.inner_text("#facts") == "0 speakers · 0 turns"
    assert page.get_by_text("Nobody speaks.").is_visible()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("e")
    page.keyboard.press("ArrowRight")
    assert shown_time(page) == 3
    empty = visit([])
    assert empty.inner_text("#length").strip() == "/ 0:00"


@in_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_room_for_it(visit: Open, scheme: str) -> None:
    turns = [turn(at, at + 1, f"speaker with a long name, number {at % 14}") for at in range(60)]
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "color_scheme": scheme}
    page = visit(turns, options=phone, reference=turns, audio=tone(60), windows=talk(20), title="meeting " * 20)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator(".lane .turn").nth(20).tap()
    assert shown_time(page) > 0
    background = page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(27, 30, 36)"}[scheme]


@in_chromium
def test_an_hour_can_be_zoomed_into_and_has_no_more_bars_than_pixels(visit: Open) -> None:
    turns = [turn(at / 2, at / 2 + 0.4, f"speaker {at % 14}") for at in range(7200)]
    page = visit(turns)
    assert page.locator(".turn").count() < 7200 / 2
    for _ in range(14):
        page.locator("#zoom-in").click()
    assert page.locator(".turn").count() < 100  # those in view, and a little more
    page.locator("#timeline").evaluate("box => box.scrollLeft = box.scrollWidth")
    expect(page.locator(".axis span", has_text="59:58").first).to_be_attached(timeout=HANGING)
    page.locator(".turn").last.click()
    assert shown_time(page) > 3580


@in_chromium
def test_the_picture_in_the_documents_is_of_this_page(browser: Browser, tmp_path: Path) -> None:
    photograph(browser, tmp_path / "report.png")
    made, kept = (imread(path) for path in (tmp_path / "report.png", REPORT))
    assert made.shape[1] == kept.shape[1]
    assert made.shape[0] == pytest.approx(kept.shape[0], rel=0.1)  # other fonts break lines elsewhere


def heard(mp3: bytes) -> NDArray[np.float32]:
    with av.open(io.BytesIO(mp3), "r") as file:
        return np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])


def test_the_audio_is_whole_in_time_and_small() -> None:
    mp3, length = encode_mp3(tone(20))
    assert length == 20
    samples = heard(mp3)
    assert len(samples) == 20 * SECOND
    loud = np.sqrt(np.square(samples.reshape(-1, SECOND // 10)).mean(axis=1)) > 0.1
    assert (loud == (np.arange(200) // 10 % 2 == 1)).all()  # to the tenth of a second, to the end
    assert len(mp3) < 20 * 3_000 * 1.05
    assert encode_mp3(iter(()))[1] == 0


def test_loud_audio_does_not_wrap_around() -> None:
    (chunk,) = (AudioChunk(0, np.full(SECOND, 1.5, np.float32)),)
    assert heard(encode_mp3([chunk])[0])[4000:12000].min() > 0.5


def test_the_sample_s_audio_is_what_is_heard() -> None:
    source = open_source(SAMPLE)
    given = np.concatenate([chunk.samples for chunk in source.chunks()])
    samples = heard(encode_mp3(source.chunks())[0])
    assert len(samples) == len(given)
    assert np.corrcoef(samples, given)[0, 1] > 0.95


def test_nothing_is_written_where_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.html"):
        write_page(ANSWER, path=tmp_path / "x.htm")

    def broken() -> Iterator[AudioChunk]:
        yield from tone(1)
        raise AudioError("talk.mp3: damaged")

    with pytest.raises(AudioError, match="damaged"):
        write_page(ANSWER, path=tmp_path / "x.html", audio=broken())
    assert list(tmp_path.iterdir()) == []


def test_the_same_page_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_page(ANSWER, path=tmp_path / f"{name}.html", audio=tone(5), windows=talk(20), reference=TRUTH)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_the_sample_has_its_reference(tmp_path: Path) -> None:
    (turns,) = read_rttms(SAMPLE.with_suffix(".rttm")).values()
    write_page(turns, path=tmp_path / "x.html", reference=turns)
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "strict DER 0.0%" in page
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?https?:""", page)
