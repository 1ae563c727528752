"""The pages in a real browser: Chromium or Chrome, with chromedriver. Where there is none, that is a failure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from zaqar_conformance.pages import matrix_page, report_page
from zaqar_conformance.reading import ReportData

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
REMEDY = "no {} on the PATH: install Chromium and its driver (Debian: apt-get install chromium chromium-driver)"
QUIET = (
    "--headless",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")

Browser = webdriver.Chrome
Open = Callable[..., Browser]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.fail(REMEDY.format("chromedriver" if program else "Chromium or Chrome"))
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in QUIET:
        options.add_argument(argument)
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


@pytest.fixture(scope="module")
def pages(told: ReportData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    found = {"report": folder / "report.html", "matrix": folder / "matrix.html"}
    found["report"].write_text(report_page(told), "utf-8")
    found["matrix"].write_text(matrix_page([told, {**told, "target": "another-target-of-some-length"}]), "utf-8")
    return found


@pytest.fixture
def show(browser: Browser, pages: dict[str, Path]) -> Iterator[Open]:
    """Opens a page; ``width`` in CSS pixels, all that can be unfolded open."""

    def opened(page: str, *, width: int = 1280, scheme: str = "light", script: bool = True) -> Browser:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        for log in ("browser", "performance"):
            logged(browser, log)
        browser.get(pages[page].as_uri())
        if script:
            browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
        return browser

    yield opened
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def shown(browser: Browser, selector: str) -> list[Any]:
    script = "return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility())"
    return list(browser.execute_script(script, selector))


def logged(browser: Browser, log: str) -> list[Any]:
    """What was logged since it was asked for last."""
    return list(browser.get_log(log))  # type: ignore[no-untyped-call]


def requested(browser: Browser) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in logged(browser, "performance")]
    return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("page", ["report", "matrix"])
def test_no_request_leaves_the_page_and_nothing_is_complained_of(show: Open, pages: dict[str, Path], page: str) -> None:
    browser = show(page)
    assert requested(browser) == [pages[page].as_uri()]
    assert logged(browser, "browser") == []
    assert browser.execute_script("return document.compatMode") == "CSS1Compat"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", ["report", "matrix"])
def test_nothing_scrolls_sideways(show: Open, page: str, width: int) -> None:
    browser = show(page, width=width)
    wide = browser.execute_script(
        """return [...document.querySelectorAll("body *")]
        .filter((each) => !each.closest("svg, .scroll"))
        .filter((each) => each.getBoundingClientRect().right > arguments[0] + 0.5)
        .map((each) => each.outerHTML.slice(0, 80))""",
        width,  # what the window says of itself grows with what is in it
    )
    assert wide == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [*WIDTHS, 390])
def test_the_names_of_capabilities_are_broken_after_underscores_alone(show: Open, told: ReportData, width: int) -> None:
    """A line of a name's text is never part of a word."""
    browser = show("report", width=width)
    lines = browser.execute_script(
        """return [...document.querySelectorAll(".capabilities code")].map((code) => [...code.childNodes]
        .filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => {
          const range = document.createRange();
          range.selectNodeContents(node);
          return range.getClientRects().length;
        }))"""
    )
    assert len(lines) == len(told["capabilities"])
    assert {count for counts in lines for count in counts} == {1}


def test_what_is_wider_than_a_phone_scrolls_by_itself_and_by_keyboard(show: Open) -> None:
    browser = show("report", width=360)
    (region,) = [
        each for each in shown(browser, ".timeline .scroll") if "claimed_twice" in each.get_attribute("aria-label")
    ]
    assert browser.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", region)
    assert region.get_attribute("tabindex") == "0"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("page", ["report", "matrix"])
def test_text_stands_out_in_both_color_schemes(show: Open, page: str, scheme: str) -> None:
    """At least 4.5 to 1, as WCAG 2 asks at level AA."""
    browser = show(page, scheme=scheme)
    dark = browser.execute_script(
        "return brightness(getComputedStyle(document.body).backgroundColor) < 0.2;" + CONTRAST
    )
    assert dark == (scheme == "dark")
    assert browser.execute_script("return faint();" + CONTRAST) == []


CONTRAST = """
function parts(color) { return color.match(/[\\d.]+/g).map(Number); }
function brightness(color) {
  const [r, g, b] = parts(color).map((each) => each / 255)
    .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function behind(element) {
  for (let each = element; each; each = each.parentElement) {
    const color = getComputedStyle(each).backgroundColor;
    const [, , , alpha = 1] = parts(color);
    if (alpha > 0) return color;
  }
  return "rgb(255, 255, 255)";
}
function faint() {
  const found = [];
  for (const each of document.querySelectorAll("body *:not(script, svg *)")) {
    const own = [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !each.checkVisibility()) continue;
    const [one, other] = [brightness(getComputedStyle(each).color), brightness(behind(each))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.push([each.outerHTML.slice(0, 80), contrast]);
  }
  return found;
}
"""


@pytest.mark.parametrize("script", [True, False])
def test_requirements_are_filtered_by_outcome_with_script_and_without(
    show: Open, told: ReportData, script: bool
) -> None:
    browser = show("report", script=script)
    assert len(shown(browser, ".requirement")) == len(told["requirements"])
    browser.find_element(By.ID, "show-failed").click()
    failed = [each["id"] for each in told["requirements"] if each["outcome"] == "failed"]
    assert failed
    assert [each.get_attribute("id") for each in shown(browser, ".requirement")] == failed
    titles = [each.text for each in shown(browser, ".part > h3")]
    assert len(titles) == len({number[:3] for number in failed})
    assert [each.is_displayed() for each in browser.find_elements(By.ID, "words")] == [script]


def test_requirements_are_found_by_their_words(show: Open) -> None:
    browser = show("report")
    words = browser.find_element(By.ID, "words")
    words.send_keys("CLAIM exclusive_claims")
    found = shown(browser, ".requirement")
    assert 0 < len(found) < 20
    assert all("EXCLUSIVE_CLAIMS" in each.text for each in found)
    words.clear()
    words.send_keys("no requirement has these words")
    assert shown(browser, ".requirement") == []
    assert [each.text for each in shown(browser, ".none")] == ["No requirement has these words."]


def test_a_failure_has_its_history_drawn(show: Open) -> None:
    browser = show("report")
    failure = "#failure-sees_a_message_claimed_twice"
    assert [each.text for each in shown(browser, f"{failure} .bar.offending text")] == ["2 claim", "3 claim"]
    assert [each.text for each in shown(browser, f"{failure} .lanes li")] == [
        "producer",
        "worker-1",
        "worker-2",
        "worker-3",
    ]
    assert len(shown(browser, f"{failure} .bar[data-number]")) == 5
    assert len(shown(browser, f"{failure} .operations tr.offending")) == 2
    fits = browser.execute_script(
        """return [...document.querySelectorAll(arguments[0])].map((bar) =>
        bar.querySelector("text").getBBox().width <= bar.querySelector("rect").getBBox().width)""",
        f"{failure} .bar[data-number]",
    )
    assert fits == [True] * 5


def test_costs_are_drawn_below_and_above_the_bound(show: Open) -> None:
    browser = show("report")
    assert len(shown(browser, ".cost")) == 2
    assert len(browser.find_elements(By.CSS_SELECTOR, ".cost .bound")) == 2
    above = browser.execute_script(
        """const plot = document.querySelector(".cost .plot"), bound = plot.querySelector(".bound").getBBox().y;
        return [...plot.querySelectorAll(".series")].map((each) => [...each.querySelectorAll("g")].pop())
          .map((last) => last.lastElementChild.getBBox().y < bound)"""
    )
    assert above == [False, True]
