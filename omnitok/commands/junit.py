"""Outcomes of checks as JUnit XML, the form that CI servers read: a suite for each plugin, a case for each check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold in any form."""


def junit(reports: Sequence[Mapping[str, Any]]) -> bytes:
    """The reports of `omnitok check` as one XML document in UTF-8; a check that fails as expected counts as skipped."""
    root = ElementTree.Element("testsuites", name="omnitok check")
    for report in reports:
        root.append(_suite(report))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in root):.3f}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, "utf-8", xml_declaration=True)


def _suite(report: Mapping[str, Any]) -> ElementTree.Element:
    name, checks = _text(report["name"]), report["checks"]
    suite = ElementTree.Element("testsuite", name=name)
    for check in checks:
        case = _case(suite, f"{name}.{check['group']}", check["id"], check["seconds"])
        if check["result"] == "failed":
            failure = ElementTree.SubElement(case, "failure", message=_text(check["message"]), type=check["id"])
            failure.text = _text(f"{check['message']}\npromised: {check['why']}\nto fix: {check['fix']}")
        elif check["result"] != "ok":
            words = f"expected to fail: {check['message']}" if check["result"] == "expected" else check["message"]
            ElementTree.SubElement(case, "skipped", message=_text(words))
    if report["error"]:
        case = _case(suite, f"{name}.plugin", "checked", 0.0)
        ElementTree.SubElement(case, "error", message=_text(report["error"]), type="plugin")
    for key, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(len(list(suite.iter(tag)))))
    suite.set("time", f"{sum(check['seconds'] for check in checks):.3f}")
    return suite


def _case(suite: ElementTree.Element, classname: str, name: str, seconds: float) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=classname, name=name, time=f"{seconds:.3f}")


def _text(words: str) -> str:
    return _NO_XML.sub("?", words)
