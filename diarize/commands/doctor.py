"""The command that says what is there: `diarize doctor`."""

from __future__ import annotations

import sys

from rich.text import Text

from diarize.terminal import exit_code, show


def doctor() -> None:
    """Say what is installed, which models and devices there are, what would fail and how to mend it."""
    from diarize.doctor import examine

    findings = examine()
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        mark, style = {True: ("ok", "green"), False: ("FAIL", "red"), None: ("no", "yellow")}[finding.ok]
        lines.append(Text.assemble((f"{mark:<4}", style), f" {finding.name:<{width}}  {finding.detail}"))
        if finding.remedy:
            lines.append(Text(f"{'':<{width + 7}}-> {finding.remedy}"))
    with exit_code(1):
        show(*lines)
    if any(finding.ok is False for finding in findings):
        sys.exit(1)
