"""The report in a real Chromium: no overflow, no error, no request, by keyboard, with contrast, for a screen reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from buildmatrix.report import html, sarif
from tests import reports
from tests.chromium import Browser
from tests.integration.tools import go_module

pytestmark = pytest.mark.integration
MODELS = {"full": reports.model, "hostile": reports.hostile, "plain": reports.plain}
WIDTHS = (400, 1280)
SCHEMES = ("light", "dark")

CONTRAST = """
(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const luminance = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ratio = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05); };
  const back = (node) => { for (; node; node = node.parentElement) {
    const c = parse(getComputedStyle(node).backgroundColor); if (c.length === 3 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const bad = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || node.closest("script, style, title")) continue;
    if (!node.getClientRects().length) continue;
    const svg = node.closest("svg"), style = getComputedStyle(node);
    const under = svg ? parse(getComputedStyle(node.parentElement.querySelector("rect")).fill) : back(node);
    const value = ratio(parse(svg ? style.fill : style.color), under);
    if (value < 4.5) bad.push([value.toFixed(2), node.tagName, node.className.baseVal ?? node.className,
      walk.currentNode.data.slice(0, 30)]);
  }
  return bad;
})()
"""

CUT = """
(() => {
  const bad = [];
  const blocks = "p, summary, h1, h2, h3, dd, dt, li, td, th, button, .badge, .finding";
  for (const node of document.querySelectorAll(blocks)) {
    const style = getComputedStyle(node);
    if (!node.getClientRects().length || style.overflowX === "auto") continue;
    const box = node.getBoundingClientRect();
    const held = node.closest(".scroll");
    if (node.scrollWidth > node.clientWidth + 1 && node.clientWidth && style.overflowX !== "visible")
      bad.push(["cut", node.tagName, node.textContent.slice(0, 40)]);
    if (!held && (box.right > innerWidth + 1 || box.left < -1))
      bad.push(["outside", node.tagName, node.textContent.slice(0, 40)]);
  }
  for (const svg of document.querySelectorAll("figure svg")) {
    for (const text of svg.querySelectorAll("text")) {
      if (getComputedStyle(text).display === "none") continue;
      const box = text.getBoundingClientRect(), rect = text.parentElement.querySelector("rect").getBoundingClientRect();
      if (box.right > rect.right + 0.5 || box.bottom > rect.bottom + 0.5) bad.push(["label", text.textContent]);
    }
  }
  return bad;
})()
"""

OVERLAP = """
(() => {
  const bad = [];
  const wanted = "header > *, nav li, section > *, .grid tbody a, .grid thead th, .legend li";
  const blocks = [...document.querySelectorAll(wanted)]
    .filter((node) => node.getClientRects().length);
  for (const one of blocks) for (const other of blocks) {
    if (one === other || one.parentElement.parentElement !== other.parentElement.parentElement) continue;
    if (one.contains(other) || other.contains(one) || one.closest(".name") || other.closest(".name")) continue;
    const a = one.getBoundingClientRect(), b = other.getBoundingClientRect();
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 1)
      bad.push([one.outerHTML.slice(0, 60), other.outerHTML.slice(0, 60)]);
  }
  return bad;
})()
"""

RULES = """
(() => {
  const bad = [];
  const name = (node) => (node.getAttribute("aria-label") || node.textContent || "").trim();
  if (!document.documentElement.lang) bad.push("html-has-lang");
  if (!document.title) bad.push("document-title");
  if (document.querySelectorAll("main").length !== 1) bad.push("landmark-one-main");
  if (document.querySelectorAll("h1").length !== 1) bad.push("page-has-heading-one");
  let level = 0;
  for (const head of document.querySelectorAll("h1,h2,h3,h4")) {
    if (+head.tagName[1] > level + 1) bad.push("heading-order " + head.textContent);
    if (!name(head)) bad.push("empty-heading");
    level = +head.tagName[1];
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  if (new Set(ids).size !== ids.length) bad.push("duplicate-id");
  for (const node of document.querySelectorAll("a[href], button, summary, [role=img], [role=region], [role=grid]")) {
    const label = node.getAttribute("aria-labelledby");
    if (!name(node) && !(label && document.getElementById(label))) bad.push("name " + node.outerHTML.slice(0, 80));
  }
  for (const node of document.querySelectorAll("th")) if (!node.scope) bad.push("scope " + node.textContent);
  for (const node of document.querySelectorAll("ul > *, ol > *")) if (node.tagName !== "LI") bad.push("list");
  for (const node of document.querySelectorAll("dl > *"))
    if (!["DT", "DD"].includes(node.tagName)) bad.push("dl");
  for (const node of document.querySelectorAll("[role=gridcell]"))
    if (!node.closest("[role=row]")) bad.push("gridcell");
  for (const node of document.querySelectorAll("*")) if (node.tabIndex > 0) bad.push("tabindex");
  for (const node of document.querySelectorAll(".badge, .mark"))
    if (!node.textContent.trim()) bad.push("colour alone");
  for (const node of document.querySelectorAll("details"))
    if (node.firstElementChild.tagName !== "SUMMARY") bad.push("summary");
  for (const node of document.querySelectorAll("section"))
    if (node.innerText.trim().split(/\\s+/).length < 5) bad.push("empty " + node.id);
  return bad;
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name, make in MODELS.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(html.render(make()), encoding="utf-8")
    return found


def unfold(browser: Browser) -> None:
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true })")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_overflows_overlaps_or_is_hard_to_read(
    browser: Browser, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    browser.open(pages[name], width=width, scheme=scheme)
    for step in ("folded", "unfolded"):
        assert browser.run("document.documentElement.scrollWidth") <= width, step
        assert browser.run(CUT) == [], step
        assert browser.run(CONTRAST) == [], step
        assert browser.run(OVERLAP) == [], step
        unfold(browser)
    assert browser.run(RULES) == []
    assert browser.errors == []
    assert browser.requests == [pages[name].as_uri()]
    assert browser.run("document.documentElement.scrollHeight") > 900


def test_hostile_names_run_nothing(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["hostile"])
    assert browser.run("document.scripts.length") == 1
    assert browser.run("document.querySelectorAll('img, iframe, object').length") == 0
    assert "<script>alert(1)</script>" in browser.run("document.body.innerText")


def test_the_policy_stops_what_is_put_in(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    """The check must be able to fail: a script that somebody adds is refused, and that shows."""
    altered = tmp_path / "altered.html"
    altered.write_text(
        pages["full"].read_text(encoding="utf-8").replace("</main>", "<script>window.owned = 1</script></main>"),
        encoding="utf-8",
    )
    browser.open(altered)
    assert browser.run("window.owned") is None
    assert any("Content Security Policy" in text for text in browser.errors)


def active(browser: Browser) -> str:
    return str(browser.run("document.activeElement.id || document.activeElement.className"))


def test_the_keyboard_reaches_and_opens_a_square(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["full"])
    browser.key("Tab")
    assert active(browser) == "skip"
    browser.key("Enter")
    assert browser.run("location.hash") == "#main"
    browser.run("document.querySelector('.grid tbody a').focus()")
    browser.key("ArrowRight")
    assert active(browser) == "g-0-0"
    browser.key("ArrowDown")
    browser.key("ArrowRight", times=2)
    assert active(browser) == "g-1-2"
    browser.key("End")
    assert active(browser) == "g-1-4"
    browser.key("Home")
    browser.key("ArrowRight", times=3)
    outline = browser.run(
        "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
    )
    assert outline == "solid3px"
    browser.key("Enter")
    assert browser.run("document.activeElement.tagName") == "SUMMARY"
    assert browser.run("document.getElementById('m-1-2').closest('details').open") is True
    assert "no RELRO" in browser.run("document.getElementById('m-1-2').innerText")
    assert browser.run("document.getElementById('m-1-2').getClientRects().length > 0") is True
    browser.key("Enter")
    assert browser.run("document.getElementById('m-1-2').closest('details').open") is False


def test_the_grid_is_one_stop_of_the_tab_key(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["full"])
    stops = browser.run("[...document.querySelectorAll('.grid tbody a')].filter((node) => node.tabIndex === 0).length")
    assert stops == 1


def test_every_stop_of_the_tab_key_can_be_seen(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["full"], height=700)
    seen = []
    for _ in range(60):
        browser.key("Tab")
        shown = browser.run(
            "(() => { const node = document.activeElement; const style = getComputedStyle(node);"
            " const box = node.getBoundingClientRect();"
            " return [node.tagName, style.outlineStyle !== 'none',"
            " box.width > 0 && box.bottom > 0 && box.top < innerHeight] })()"
        )
        if shown[0] == "BODY":
            break
        seen.append(shown)
    assert len(seen) > 20
    assert all(outline and visible for _, outline, visible in seen), seen


def test_without_scripts_a_square_still_leads_to_its_evidence(browser: Browser, pages: dict[str, Path]) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.call("Page.navigate", url=f"{pages['full'].as_uri()}#m-0-0")
        browser.call("Page.getLayoutMetrics")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.run("document.getElementById('m-0-0').closest('details').open") is True


def test_the_toggle_changes_colours_and_says_so(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["full"], scheme="light")
    browser.run("localStorage.clear()")
    browser.open(pages["full"], scheme="light")
    before = browser.run("getComputedStyle(document.body).backgroundColor")
    browser.run("document.getElementById('theme').focus()")
    browser.key("Space")
    assert browser.run("getComputedStyle(document.body).backgroundColor") != before
    assert browser.run("document.getElementById('theme').getAttribute('aria-pressed')") == "true"
    assert browser.run(CONTRAST) == []
    browser.key("Space")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == before
    browser.run("localStorage.clear()")


def test_a_screen_reader_is_told_the_grid(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["full"])
    roles: dict[str, list[str]] = {}
    for node in browser.tree():
        if not node.get("ignored"):
            role = str(node["role"]["value"])
            roles.setdefault(role, []).append(str(node.get("name", {}).get("value", "")))
    report = reports.model()
    assert roles["grid"] == ["Artifacts and checks"]
    assert len(roles["gridcell"]) == len(report.rows) * len(report.columns)
    assert len(roles["rowheader"]) >= len(report.rows)
    assert f"{report.rows[0].cell}, machine: failed" in roles["link"]
    assert all(roles["link"]), "a link without a name"
    assert {"main", "navigation", "banner", "contentinfo"} <= set(roles)


def test_screenshots_show_something(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    """Light and dark differ, and neither is a blank page."""
    made: dict[tuple[int, str], bytes] = {}
    for width in WIDTHS:
        for scheme in SCHEMES:
            browser.open(pages["full"], width=width, scheme=scheme)
            path = tmp_path / f"{width}-{scheme}.png"
            browser.screenshot(path)
            made[width, scheme] = path.read_bytes()
    assert len(set(made.values())) == len(made)
    assert all(len(data) > 40_000 for data in made.values())


def test_a_cut_text_would_be_found(browser: Browser, pages: dict[str, Path]) -> None:
    """The checks above can fail."""
    browser.open(pages["full"], width=400)
    browser.run(
        "document.querySelector('h1').style.cssText = 'overflow:hidden;white-space:nowrap;width:30px;color:#888'"
    )
    assert browser.run(CUT) != []
    assert browser.run(CONTRAST) != []


def test_sarif_follows_the_official_schema() -> None:
    """The OASIS schema, as securego/gosec has it among its test data."""
    folder = go_module("github.com/securego/gosec/v2", "v2.30.0")
    schema: dict[str, Any] = json.loads((folder / "report/sarif/testdata/sarif-schema-2.1.0.json").read_bytes())
    assert "2.1.0" in schema["title"]
    validator = jsonschema.validators.validator_for(schema)(schema)
    for make in MODELS.values():
        document = json.loads(sarif.render(make()))
        assert [error.message for error in validator.iter_errors(document)] == []
    document["runs"][0]["results"] = [{"level": "fatal"}]
    assert list(validator.iter_errors(document))
