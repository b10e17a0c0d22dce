"""The report as JUnit XML, for build servers: a suite for each target, a case for each rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from corefutures_conformance.verdict import Report

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(reports: Sequence[Report]) -> str:
    """Return the XML for one or several targets."""
    root = ET.Element("testsuites")
    for report in reports:
        broken = [result for result in report.results if result.bad and result.decides(strict=report.strict)]
        suite = ET.SubElement(
            root,
            "testsuite",
            name=report.target,
            tests=str(len(report.results)),
            failures=str(len(broken)),
            errors="0",
            skipped=str(sum(result.outcome != "passed" for result in report.results) - len(broken)),
            time=f"{sum(result.seconds for result in report.results):.3f}",
        )
        for result in report.results:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=result.rule.chapter,
                name=result.rule.id,
                time=f"{result.seconds:.3f}",
            )
            if result in broken:
                failure = ET.SubElement(case, "failure", type=result.outcome, message=_printable(result.message))
                failure.text = _printable(result.details)
            elif result.outcome != "passed":
                advice = "advisory: " if result.bad else ""
                ET.SubElement(case, "skipped", message=_printable(f"{advice}{result.outcome}: {result.message}"))
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("�", text)
