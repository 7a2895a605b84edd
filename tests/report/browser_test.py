"""report.html in a real browser: silent, alone, readable on a phone, by keyboard."""

import shutil

import pytest

from ser_jax.report import report
from tests.report import hostile

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason=f"no browser: none of {', '.join(NAMES)} is installed",
)
COLOUR = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(name="paths", scope="module")
def _paths(tmp_path_factory):
    """A report and a comparison, both of hostile workdirs."""
    first, second = (hostile.workdir(tmp_path_factory.mktemp("odd")) for _ in "ab")
    report.write_report(first)
    folder = tmp_path_factory.mktemp("both")
    report.write_comparison([first, second], str(folder))
    return first / "report.html", folder / "comparison.html"


@pytest.fixture(name="browser", scope="module")
def _browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as server:
        options = {"executable_path": CHROMIUM, "args": ["--no-sandbox"]}
        browser = server.chromium.launch(**options)
        yield browser
        browser.close()


@pytest.fixture(name="show")
def _show(browser):
    """`show(path, width, scheme)`: the page, what it complained of, what it loaded."""
    pages = []

    def show(path, width, scheme="light"):
        pages.append(
            browser.new_page(
                viewport={"width": width, "height": 900},
                is_mobile=width <= 600,
                color_scheme=scheme,
            )
        )
        problems, requests = [], []
        pages[-1].on("console", lambda message: problems.append(message.text))
        pages[-1].on("pageerror", lambda error: problems.append(str(error)))
        pages[-1].on("request", lambda request: requests.append(request.url))
        pages[-1].goto(path.resolve().as_uri())
        return pages[-1], problems, requests

    yield show
    for page in pages:
        page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_silent_alone_readable_and_fits(show, paths, width, scheme):
    for path in paths:
        page, problems, requests = show(path, width, scheme)
        assert problems == []
        loaded = [url for url in requests if not url.startswith("data:")]
        assert loaded == [path.resolve().as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("window.broken") is None
        assert len(page.screenshot()) > 20_000  # it is not blank
        if width > 600:  # a phone has the same colours
            # WCAG AA asks for 4.5 between a text and what lies behind it.
            contrast = page.evaluate(CONTRAST)
            assert 4.5 <= contrast < 15  # and something was measured


def test_the_policy_forbids_the_network(show, paths):
    page, problems, _ = show(paths[0], 390)
    fetched = "fetch('https://example.invalid/').then(() => 1, () => 0)"
    assert page.evaluate(fetched) == 0
    # By the page, before any name was looked up.
    assert any("Content Security Policy" in problem for problem in problems)


def test_colours_follow_the_system_and_the_button(show, paths):
    page, problems, _ = show(paths[0], 390, "light")
    stroke = "getComputedStyle(document.querySelector('svg [style*=first]')).stroke"
    light, line = page.evaluate(COLOUR), page.evaluate(stroke)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(COLOUR)
    assert light != dark and line != page.evaluate(stroke)
    page.click("#theme")
    assert page.evaluate(COLOUR) == light and page.evaluate(stroke) == line
    page.click("#theme")
    assert page.evaluate(COLOUR) == dark
    assert problems == []


def test_letters_in_charts_are_as_large_as_a_phone_needs(show, paths):
    page, _, _ = show(paths[0], 390)
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('svg text')]"
        ".map(t => t.getBoundingClientRect().height))"
    )
    assert 10 <= smallest < 100  # CSS pixels, ascent and descent; some were there


def test_everything_is_reached_by_the_tab_key(show, paths):
    page, _, _ = show(paths[0], 1280)
    number = page.evaluate(
        "document.querySelectorAll('a, button, audio, summary, .wide, pre').length"
    )
    page.evaluate(
        "window.reached = new Set(); document.addEventListener('focusin', "
        "e => window.reached.add(e.target))"
    )
    for _ in range(8 * number):  # a player has several stops of its own
        page.keyboard.press("Tab")
        if page.evaluate("window.reached.size") >= number:
            break
    assert page.evaluate("window.reached.size") >= number
    page.focus("#theme")
    before = page.evaluate(COLOUR)
    page.keyboard.press("Enter")
    assert page.evaluate(COLOUR) != before


def test_sounds_play(show, paths):
    page, _, _ = show(paths[0], 390)
    seconds = page.evaluate(
        "new Promise(done => { const a = document.querySelector('audio');"
        "a.onloadedmetadata = () => done(a.duration); a.onerror = () => done(-1);"
        "a.preload = 'auto'; a.load(); })"
    )
    assert seconds == pytest.approx(1.0, abs=0.01)  # FLAC tells its length


CONTRAST = """
(() => {
  const parse = c => (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (f, b) => { const a = f.length > 3 ? f[3] : 1;
    return [0, 1, 2].map(i => f[i] * a + b[i] * (1 - a)); };
  const light = c => { const [r, g, b] = c.map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => e ? over(parse(getComputedStyle(e).backgroundColor),
    behind(e.parentElement)) : [255, 255, 255];
  let least = 21;
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || e.closest('audio, script, title') || e.classList.contains('skip')) continue;
    const style = getComputedStyle(e);
    const back = behind(e.closest('svg') ? e.closest('svg').parentElement : e);
    const ink = over(parse(e.closest('svg') ? style.fill : style.color), back);
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
})()
"""
