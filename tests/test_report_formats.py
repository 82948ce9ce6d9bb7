"""One model in five formats: complete, deterministic, bounded, and deaf to what artifacts are called."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from buildmatrix.checks import CHECKS
from buildmatrix.dist import REPORTS
from buildmatrix.finding import Severity
from buildmatrix.gather.seen import SEEN
from buildmatrix.report import formats, html, jsonform, junit, markdown, sarif
from buildmatrix.report.model import ReportModel
from buildmatrix.report.plain import safe
from tests import reports

FORMS = tuple(REPORTS)
MODELS = {"full": reports.model, "hostile": reports.hostile, "plain": reports.plain}
BIDI = "\u202e"


def test_every_format_of_dist_has_a_renderer() -> None:
    assert set(formats.MODULES) == set(REPORTS)


def test_every_check_says_what_it_saw() -> None:
    assert {check.code for check in CHECKS} == set(SEEN)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_the_same_report_gives_the_same_bytes(form: str, name: str) -> None:
    assert formats.render(MODELS[name](), form) == formats.render(MODELS[name](), form)


@pytest.mark.parametrize("form", FORMS)
def test_no_format_carries_what_reorders_or_controls(form: str) -> None:
    text = formats.render(reports.hostile(), form).decode()
    assert BIDI not in text
    assert "\x1b" not in text
    assert "gnp.exe" in text, "the text itself is still there"


@pytest.mark.parametrize("letter", ["\u202e", "\u2066", "\u200f", "\x00", "\x1b", "\n", "\u2028", "\udcff", "\ufeff"])
def test_safe_escapes(letter: str) -> None:
    assert letter not in safe(f"a{letter}b")
    assert safe(f"a{letter}b").isprintable()


def test_safe_leaves_words_alone() -> None:
    assert safe("größer, 大きい, naïve café 🙂") == "größer, 大きい, naïve café 🙂"


class _Page(HTMLParser):
    """What a browser would make of the page, as far as attacks go."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def page(report: ReportModel) -> _Page:
    return _Page(html.render(report))


@pytest.mark.parametrize("name", MODELS)
def test_the_page_runs_its_own_script_alone(name: str) -> None:
    text = html.render(MODELS[name]())
    tags = _Page(text).tags
    assert [tag for tag, _ in tags].count("script") == 1
    assert not any(tag == "img" for tag, _ in tags)
    assert not [key for _, attributes in tags for key in attributes if key.startswith("on") or key == "style"]
    policy = next(a["content"] or "" for tag, a in tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        content = text.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


@pytest.mark.parametrize("name", MODELS)
def test_the_page_leads_nowhere_but_into_itself(name: str) -> None:
    tags = page(MODELS[name]()).tags
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _tag, attributes in tags:
        for key in ("href", "src", "action", "data"):
            target = attributes.get(key)
            if target is not None and target != "data:,":
                assert target.startswith("#")
                if name != "hostile":
                    assert target[1:] in ids, target


def test_the_page_has_a_square_for_every_check() -> None:
    report = reports.model()
    squares = [a for tag, a in page(report).tags if tag == "a" and "mark" in (a.get("class") or "").split()]
    assert len(squares) == len(report.rows) * len(report.columns)
    assert all(": " in (a["aria-label"] or "") for a in squares)


def test_sections_without_content_say_so() -> None:
    text = re.sub(r"<(style|script)>.*?</\1>", "", html.render(reports.plain()), flags=re.DOTALL)
    for key, _title in html.SECTIONS:
        section = text.partition(f'<section id="{key}"')[2].partition("</section>")[0]
        words = re.sub(r"<h2.*?</h2>|<[^>]+>", " ", section)
        assert len(words.split()) > 3, key


def test_json_has_a_schema_and_every_finding() -> None:
    report = reports.model()
    value = json.loads(jsonform.render(report))
    assert value["schema"] == 1
    assert value["failed"] is True
    assert value["counts"] == {"error": 4, "warning": 2, "note": 1}
    found = [item for row in value["rows"] for mark in row["marks"] for item in mark["findings"]]
    found += [item for image in value["images"] for item in image["findings"]] + value["other"]
    assert len(found) == len(tuple(report.findings))


def many(count: int) -> ReportModel:
    report = reports.model()
    more = tuple(
        replace(reports.finding("BM703", "dist", Severity.ERROR), what=f"stray file number {n} 🙂")
        for n in range(count)
    )
    return replace(report, other=more)


@pytest.mark.parametrize("count", [0, 10, 500, 20_000])
def test_markdown_is_bounded_and_says_what_it_left_out(count: int) -> None:
    text = markdown.render(many(count))
    assert len(text.encode()) <= markdown.LIMIT
    assert ("do not fit here" in text) is (count >= 500)
    assert text.startswith("## ❌ service")


def test_markdown_keeps_names_from_being_markup() -> None:
    text = markdown.render(reports.hostile())
    assert "<script" not in text
    assert "<img" not in text
    assert "](javascript" not in text
    assert "@team" not in text
    rows = [line for line in text.splitlines() if line.startswith("| a")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in rows)


def test_markdown_puts_failures_first() -> None:
    lines = markdown.render(reports.model()).splitlines()
    results = [line.split("|")[2].strip() for line in lines if line.startswith("| service")]
    assert results[0].startswith("❌")
    assert results[-1].startswith("✅")
    assert lines.index("### Errors") < lines.index("### Warnings") < lines.index("### Notes")


def log(report: ReportModel) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(sarif.render(report))
    return value


@pytest.mark.parametrize("name", MODELS)
def test_sarif_is_what_code_scanning_takes(name: str) -> None:
    """GitHub's documented requirements; the official schema is held against it in the integration tests."""
    value = log(MODELS[name]())
    assert value["version"] == "2.1.0"
    (run,) = value["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted({rule["id"] for rule in rules})
    assert all(re.fullmatch(r"BM\d{3}", rule["id"]) and rule["help"]["text"] for rule in rules)
    fingerprints = [item["partialFingerprints"][sarif.FINGERPRINT] for item in run["results"]]
    assert len(fingerprints) == len(set(fingerprints))
    for item in run["results"]:
        assert rules[item["ruleIndex"]]["id"] == item["ruleId"]
        assert item["level"] in ("error", "warning", "note")
        (place,) = item["locations"]
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9._~%/-]+", uri)
        assert not uri.startswith(("/", ".."))
        assert place["physicalLocation"]["region"]["startLine"] >= 1


def test_sarif_leads_to_the_line_that_declares_the_target() -> None:
    first = log(reports.model())["runs"][0]["results"][0]
    place = first["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("deploy/matrix.toml", 7)


def test_a_finding_keeps_its_fingerprint_when_only_numbers_change() -> None:
    one = reports.finding("BM704", "app", Severity.ERROR, f"artifact changed (got sha256:{'ab' * 32}), 4096 bytes")
    other = replace(one, what=f"artifact changed (got sha256:{'cd' * 32}), 8192 bytes")
    different = replace(one, cell="other")
    prints = [
        log(replace(reports.model(), rows=(), images=(), other=(item,)))["runs"][0]["results"][0]["partialFingerprints"]
        for item in (one, other, different)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_sarif_says_what_it_left_out() -> None:
    run = log(many(sarif.MOST_RESULTS + 50))["runs"][0]
    assert len(run["results"]) == sarif.MOST_RESULTS
    assert "worst are listed" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


@pytest.mark.parametrize("name", MODELS)
def test_junit_counts_what_it_holds(name: str) -> None:
    top = ET.fromstring(junit.render(MODELS[name]()))  # noqa: S314
    for element in (top, *top.findall("testsuite")):
        for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
            assert int(element.attrib[attribute]) == len(element.findall(f".//{tag}"))
    assert len(list(top.iter("failure"))) == {"plain": 0}.get(name, 4)


def test_junit_never_passes_what_could_not_be_looked_at() -> None:
    top = ET.fromstring(junit.render(reports.model()))  # noqa: S314
    unread = next(suite for suite in top if suite.get("name", "").endswith("ppc64le"))
    assert unread.get("errors") == "4"
    assert unread.get("failures") == "1"


def test_the_same_note_about_many_cells_is_told_once_to_people_and_each_time_to_programs() -> None:
    notes = tuple(reports.finding("BM605", name, Severity.NOTE, "never looked at") for name in "abcde")
    report = replace(reports.plain(), other=notes)
    assert "a, b, c and 2 more" in html.render(report)
    assert markdown.render(report).count("never looked at") == 1
    assert len(log(report)["runs"][0]["results"]) == len(notes)
    assert jsonform.render(report).count("never looked at") == len(notes)
