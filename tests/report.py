"""Makes docs/report.png, the page of the sample conversation: `python -m tests.report docs/report.png`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from diarize.pipeline import SpeakerDiarization, recluster
from diarize.plot import write_page
from diarize.rttm import read_rttms, turns_from
from diarize.sources import open_source
from tests.command import SAMPLE


def photograph(browser: Browser, path: Path) -> None:
    """The page of the sample with everything, a third of the way through."""
    diarization = SpeakerDiarization()
    embedded = diarization.embedded(SAMPLE)
    turns = turns_from(recluster(embedded, diarization.config).updates)
    (reference,) = read_rttms(SAMPLE.with_suffix(".rttm")).values()
    (windows,) = embedded.channels
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        audio = open_source(SAMPLE).chunks()
        write_page(turns, path=page, title="A conversation", reference=reference, audio=audio, windows=windows)
        visit = browser.new_page(viewport={"width": 1080, "height": 800}, device_scale_factor=1.5)
        visit.goto(page.as_uri())
        for _ in range(4):
            visit.keyboard.press("ArrowRight")
        visit.screenshot(path=path, full_page=True)
        visit.close()


if __name__ == "__main__":
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        photograph(chromium, Path(sys.argv[1]))
        chromium.close()
