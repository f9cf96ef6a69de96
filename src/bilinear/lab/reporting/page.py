"""A report as one page: the headline, then each section with its picture and numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bilinear.inspection.page import scrolling, text, write_page

if TYPE_CHECKING:
    from bilinear.lab.reporting.report import LabReport
    from bilinear.lab.reporting.section import Section

_SENTENCES = re.compile(r"(?<=[.]) (?=[A-Z])")


def write_report(report: LabReport, path: Path) -> None:
    """Writes the page, whole or not at all; it can be read without a network."""
    head = (
        f'<header><p class="over">The lab · {text(report.source)}</p>'
        f'<h1 class="verdict {report.sections[0].tone}">{text(report.headline)}</h1>'
        f'<p class="faint">{text(report.description)}.</p></header>'
    )
    body = head + "".join(map(section_html, report.sections))
    write_page(path, f"The lab: {report.source}", f"<main>{body}</main>", None, "report-page")


def section_html(section: Section) -> str:
    """A question with its answer, what to do next, the picture and the numbers."""
    first, *rest = _SENTENCES.split(section.answer, maxsplit=1)
    more = f"<p>{_inline(rest[0])}</p>" if rest else ""
    rows = "".join(
        f'<tr><td>{text(what)}</td><td class="n">{text(number)}</td></tr>' for what, number in section.facts
    )
    numbers = scrolling(f"<tbody>{rows}</tbody>") if rows else ""
    step = section.next_step
    return (
        f'<section class="part"><h2>{text(section.question)}</h2><p class="lead">{_inline(first)}</p>{more}'
        f"<p><strong>What to do next:</strong> {_inline(step[:1].lower() + step[1:])}.</p><br>"
        f'<div class="pair">{section.picture}{numbers}</div></section>'
    )


def _inline(plain: str) -> str:
    """Text as HTML, with what stands between backticks as code."""
    parts = text(plain).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
