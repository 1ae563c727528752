"""The page of a report and its drawings: what is there, and that nothing in it is more than text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zaqar_conformance.costs import BOUND
from zaqar_conformance.outcomes import Outcome
from zaqar_conformance.pages import badge, matrix_page, report_page
from zaqar_conformance.pages.plot import costs_by_state
from zaqar_conformance.pages.rendering import SIGNS, breakable, codes, slug
from zaqar_conformance.pages.timeline import MOST, duration, timeline
from zaqar_conformance.reading import ReportData
from zaqar_conformance.report import Verdict
from zaqar_conformance.verdict import overall, start

VOID = {"meta", "input", "br", "wbr", "link", "img"}


class Page(HTMLParser):
    """A page taken apart; every element has to be closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self._parted = False
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._parted = tag == "wbr"
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._parted:  # in the middle of a word
            data = self.texts.pop()[1] + data
            self._parted = False
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(text for tag, text in self.texts if tag not in ("style", "script")).split())


@pytest.fixture(scope="module")
def page(told: ReportData) -> Page:
    return Page(report_page(told))


def test_the_verdict_comes_first_and_the_command_says_how_to_see_it_again(page: Page, told: ReportData) -> None:
    assert page.text.startswith("memory: failed (zaqar-conformance) Zaqar storage contract 1 memory ✗ failed")
    assert "2 checks failed, 1 check waits for a method to be written." in page.text
    assert told["command"] in page.text
    for result in told["checks"]:
        if result["outcome"] == "failed":
            assert result["reproduce"] in page.text


def test_every_requirement_is_there_with_its_text_level_and_outcome(page: Page, told: ReportData) -> None:
    assert told["requirements"]
    shown = [each for each in page.all("details") if each.get("class") == "requirement"]
    assert [(each["id"], each["data-outcome"]) for each in shown] == [
        (each["id"], each["outcome"].replace(" ", "-")) for each in told["requirements"]
    ]
    for each in told["requirements"]:
        text = re.sub(r"[`\s]+", "", each["text"])
        assert f"{each['id']}{each['level']}" in page.text.replace(" ", "")
        assert text in re.sub(r"\s+", "", page.text).replace("`", "")


def test_every_capability_is_there_declared_and_observed(page: Page, told: ReportData) -> None:
    for each in told["capabilities"]:
        declared = "yes" if each["declared"] else "no"
        assert re.search(rf"{each['name']} {each['kind']} {declared} . {each['verdict']}", page.text)


def test_a_capabilitys_name_may_be_parted_after_an_underscore_alone(told: ReportData) -> None:
    text = report_page(told)
    assert "<code>AT_<wbr>LEAST_<wbr>ONCE</code>" in text
    assert breakable("<A_B>") == "&lt;A_<wbr>B&gt;"


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        (
            ["MSG-001", "MSG-002", "MSG-001", None, "CLM-001", "MSG-001"],
            "3 of 6 failures are about MSG-001: start there.",
        ),
        (["MSG-001"] * 5, ""),
        (["MSG-001", "MSG-002", "MSG-003", None, None, None], ""),
        ([], ""),
    ],
)
def test_of_many_failures_the_page_says_where_to_start(told: ReportData, failures: list[str | None], said: str) -> None:
    failed = next(check for check in told["checks"] if check["outcome"] == "failed")
    checks = [{**failed, "name": f"check_{place}", "requirement": each} for place, each in enumerate(failures)]
    page = Page(report_page({**told, "checks": checks, "requirements": [], "missing_methods": {}}))
    assert start(failures) == said
    assert said in page.text
    assert ("start there" in page.text) == bool(said)


def test_nothing_that_a_driver_says_is_more_than_text(page: Page) -> None:
    assert "</code></script><script>alert('driver')</script><img src=http://127.0.0.1:1/x" in page.text
    assert len(page.all("script")) == 1
    assert page.all("img") == page.all("link") == page.all("iframe") == []
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes)
    assert all(str(each["href"]).startswith("#") for each in page.all("a"))


def test_the_page_forbids_itself_every_request_and_any_script_but_its_own(page: Page) -> None:
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


@pytest.mark.parametrize("of", ["report", "matrix"])
def test_links_lead_somewhere_and_headings_do_not_skip(told: ReportData, of: str) -> None:
    page = Page(report_page(told) if of == "report" else matrix_page([told, told]))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(each["href"]).removeprefix("#") for each in page.all("a")} <= set(ids)
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_report_of_a_contract_that_is_not_known_any_more_is_shown(told: ReportData) -> None:
    assert "Zaqar storage contract 99" in Page(report_page({**told, "contract": 99})).text


def test_every_outcome_has_a_sign_a_color_and_a_filter() -> None:
    style = files("zaqar_conformance.pages").joinpath("templates/page.css").read_text("utf-8")
    assert set(SIGNS) == set(Outcome)
    for outcome in Outcome:
        assert re.search(rf"^(\.[\w-]+, )*\.is-{slug(outcome)}\b.*--tone", style, re.MULTILINE)
        assert f"#show-{slug(outcome)}:checked" in style


def test_every_verdict_on_a_capability_can_be_shown(told: ReportData) -> None:
    capabilities = [{"name": "FIFO", "kind": "guarantee", "declared": True, "verdict": each.value} for each in Verdict]
    text = Page(report_page({**told, "capabilities": capabilities})).text
    assert re.findall(r"FIFO guarantee yes . (\w[\w, ]*?)(?= FIFO| Failures)", text) == [each.value for each in Verdict]


def test_backticks_make_code_and_nothing_else() -> None:
    assert codes("`a<b` & ``c`` d` <e>") == "<code>a&lt;b</code> &amp; <code>c</code> d` &lt;e&gt;"


# --- histories ----------------------------------------------------------------------------------------------------


def drawn(told: ReportData, name: str) -> Any:
    (check,) = [each for each in told["checks"] if each["name"] == name]
    return timeline(check["history"], check["offending"], check["history_length"], check["message"])


def test_a_failure_is_drawn_with_what_cannot_be_right(told: ReportData) -> None:
    line = drawn(told, "sees_a_message_claimed_twice")
    assert line.lanes == ("producer", "worker-1", "worker-2", "worker-3")
    assert [(bar.label, bar.offending) for bar in line.bars] == [
        ("1 post", False),
        ("2 claim", True),
        ("3 claim", True),
        ("4 delete ?", False),
        ("5 renew ✗", False),
    ]
    assert [idle.text for idle in line.idles] == ["891 ms"]


def test_ids_have_short_names(told: ReportData) -> None:
    line = drawn(told, "sees_a_message_claimed_twice")
    assert line.text == "message m1 was in two live claims at once"
    assert line.rows[1].result == '{"id": c1, "messages": [m1]}'
    assert dict(line.names) == {"m1": "message-one-id", "c1": "claim-one-id", "c2": "claim-two-id"}


def test_a_history_of_a_hundred_thousand_ids_is_drawn() -> None:
    """With one pattern for all names, as it was once, this would take hours."""
    history = []
    for number in range(MOST):
        ids = [f"{number:05}-{each:016x}" for each in range(2_000)]
        history.append({**operation("a", number, number + 1), "name": "messages.post", "result": ids})
    message = f'lost: {history[-1]["result"][-1]}. Also "{history[0]["result"][0]}" and {"x" * 1_000_000}'
    line = timeline(history, [], MOST, message)
    assert line is not None
    assert line.text.startswith("lost: m120000. Also m1 and xxx")
    assert len(line.rows[0].result) < 10_000, "a page that a browser can show"


def test_only_whole_ids_are_renamed() -> None:
    claim = {**operation("a", 0, 1), "name": "claims.create", "result": {"id": "c.1-a", "messages": ["m.1-a", "m.1"]}}
    line = timeline([claim], [], 1, 'm.1-a, "m.1" (m.1). c.1-a-b xm.1 m.1-a... m.12 "m.1-a')
    assert line is not None
    assert line.text == 'm1, m2 (m2). c.1-a-b xm.1 m1... m.12 "m1'


def test_what_is_not_there_is_not_drawn() -> None:
    assert timeline([], [], 0) is None


def operation(client: str, start: int, end: int, outcome: str = "ok") -> dict[str, Any]:
    return {
        "client": client,
        "name": "messages.stats",
        "queue": "q",
        "arguments": {},
        "start": start,
        "end": end,
        "outcome": outcome,
        "result": None,
    }


operations = st.tuples(st.sampled_from("abc"), st.integers(0, 10**10), st.integers(0, 10**10)).map(
    lambda each: operation(each[0], min(each[1:]), max(each[1:]))
)


@settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(operations, min_size=1, max_size=30))
def test_what_came_first_is_further_left_and_every_bar_holds_its_name(history: list[dict[str, Any]]) -> None:
    line = timeline(history, [], len(history))
    assert line is not None
    places = [
        (moment, place)
        for one, bar in zip(history, line.bars, strict=True)
        for moment, place in ((one["start"], bar.x), (one["end"], bar.x + bar.width))
        if one["start"] < one["end"]
    ]
    for (one, at), (other, there) in pairwise(sorted(places)):
        assert at == pytest.approx(there) if one == other else at < there
    for bar in line.bars:
        assert bar.x + bar.width <= line.width
        assert bar.width >= 6 * len(bar.label)


def test_of_a_long_history_what_offends_is_drawn_and_what_is_near() -> None:
    history = [operation("a", 10 * n, 10 * n + 5) for n in range(500)]
    line = timeline(history, [100, 300], 900)
    assert line is not None
    assert (len(line.bars), line.total) == (MOST, 900)
    assert [bar.number for bar in line.bars if bar.offending] == [101, 301]
    last = timeline(history, [], 500)
    assert last is not None
    assert last.bars[-1].number == 500


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0 ns"), (999, "999 ns"), (1_230_000, "1.23 ms"), (2e9, "2 s"), (1.5e12, "1500 s")],
)
def test_lengths_of_time_have_three_digits(nanoseconds: float, text: str) -> None:
    assert duration(nanoseconds) == text


# --- costs --------------------------------------------------------------------------------------------------------


def test_costs_are_drawn_by_state_and_what_is_too_much_is_marked(told: ReportData, page: Page) -> None:
    active, every = costs_by_state([cost for check in told["checks"] for cost in check["costs"]])
    assert (active.state, every.state) == ("active", "of every state")
    assert [(row.operation, row.too_much) for row in active.rows] == [("post", False), ("list", True)]
    post, many = active.times.lines
    assert active.times.bound is not None
    assert all(point.y > active.times.bound for point in post.points)  # below it: the axis points up
    assert many.points[-1].y < active.times.bound
    assert active.trips is not None
    assert every.trips is None
    assert f"bound {BOUND}\u00d7" in page.text
    assert "✗ 2.50 2.40\u20132.60 2 → 5" in page.text
    assert "Round trips: not counted (there are none)." in page.text


@pytest.mark.parametrize("depths", [[100], [100, 100], [7, 100]])
def test_any_depths_can_be_drawn(depths: list[int]) -> None:
    costs = [
        {"operation": "post", "state": "active", "depth": depth, "milliseconds": 0.0, "ratio": 400.0}
        | {"low": 1e-3, "high": 1e6, "round_trips": 0.0}
        for depth in depths
    ]
    (found,) = costs_by_state(costs)
    (line,) = found.times.lines
    for point in line.points:
        assert found.times.top <= point.y <= found.times.bottom
    assert 3 <= len(found.times.up) <= 9


# --- badges -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit_code", "narrowed", "said"),
    [
        (0, {}, "zaqar contract 1: passed"),
        (1, {}, "zaqar contract 1: failed"),
        (3, {}, "zaqar contract 1: no verdict"),
        (0, {"profile": "data", "only": ["<&>"]}, "zaqar contract 1: passed (profile data, only <&>)"),
        (0, {"quick": True}, "zaqar contract 1: passed (quick)"),
    ],
)
def test_a_badge_says_contract_verdict_and_scope(
    told: ReportData, exit_code: int, narrowed: dict[str, Any], said: str
) -> None:
    root = ET.fromstring(badge({**told, "exit_code": exit_code, **narrowed}))
    assert root.get("aria-label") == said
    assert "".join(root.itertext()).split() == said.split() + said.replace(":", "").split()


def test_a_run_without_a_verdict_says_why(told: ReportData) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"interrupted": True}, "The run was interrupted"),
        ({"outcomes": {"error": 2}}, "2 checks broke by the suite's or the environment's fault."),
        ({"outcomes": {"undecided": 1}}, "1 check is undecided, and nothing was decided."),
        ({"outcomes": {}}, "Nothing was run."),
    ]
    for change, said in changes:
        assert said in Page(report_page({**told, "exit_code": 3, **change})).text


def test_a_run_that_failed_and_was_interrupted_says_both(told: ReportData) -> None:
    text = Page(report_page({**told, "exit_code": 1, "interrupted": True})).text
    assert "2 checks failed, 1 check waits for a method to be written. The run was interrupted;" in text
    assert "interrupted" not in overall({**told, "exit_code": 1}).sentence
