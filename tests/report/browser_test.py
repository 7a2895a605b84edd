"""report.html in a real browser: silent, alone, readable on a phone, by keyboard."""

import pytest

from ser_jax.report import report
from tests.report import browser, hostile

pytestmark = pytest.mark.skipif(
    browser.find() is None,
    reason=f"no browser: none of {', '.join(browser.NAMES)} is installed",
)
COLOURS = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(name="pages", scope="module")
def _pages(tmp_path_factory):
    """A report and a comparison, both of hostile workdirs."""
    first, second = (hostile.workdir(tmp_path_factory.mktemp("odd")) for _ in "ab")
    report.write_report(first)
    folder = tmp_path_factory.mktemp("both")
    report.write_comparison([first, second], str(folder))
    return first / "report.html", folder / "comparison.html"


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory):
    with browser.browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_silent_alone_and_fits(page, pages, tmp_path, width, scheme):
    for path in pages:
        page.open(path, width=width, scheme=scheme)
        assert page.problems() == []
        asked = [u for u in page.requests() if not u.startswith("data:")]
        assert asked == [path.resolve().as_uri()]
        assert page.run("document.documentElement.scrollWidth") == width
        assert page.run("window.broken") is None
        page.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 20_000


def test_the_policy_forbids_the_network(page, pages):
    page.open(pages[0], width=390)
    caught = page.run("fetch('https://example.invalid/').then(() => 1, () => 0)")
    assert caught == 0
    refused = [e for e in page.problems() if "Content Security Policy" in str(e)]
    assert refused  # by the page, before any name was looked up


def test_colours_follow_the_system_and_the_button(page, pages):
    page.open(pages[0], width=390, scheme="light")
    light = page.run(COLOURS)
    page.open(pages[0], width=390, scheme="dark")
    dark = page.run(COLOURS)
    assert light != dark
    page.run("document.getElementById('theme').click()")
    assert page.run(COLOURS) == light
    page.run("document.getElementById('theme').click()")
    assert page.run(COLOURS) == dark
    assert page.problems() == []


def test_letters_in_charts_are_as_large_as_a_phone_needs(page, pages):
    page.open(pages[0], width=390)
    smallest = page.run(
        "Math.min(...[...document.querySelectorAll('svg text')]"
        ".map(t => t.getBoundingClientRect().height))"
    )
    assert smallest >= 10  # CSS pixels, ascent and descent


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_letters(page, pages, scheme):
    """WCAG AA asks for 4.5 between a text and what lies behind it."""
    page.open(pages[0], width=1280, scheme=scheme)
    least = page.run(CONTRAST)
    assert 4.5 <= least < 15  # and something was measured


def test_everything_is_reached_by_the_tab_key(page, pages):
    page.open(pages[0], width=1280)
    wanted = page.run(
        "document.querySelectorAll('a, button, audio, summary, .wide, pre').length"
    )
    page.run(
        "window.reached = new Set(); document.addEventListener('focusin', "
        "e => window.reached.add(e.target))"
    )
    for _ in range(8 * wanted):  # a player has several stops of its own
        page.press("Tab")
        if page.run("window.reached.size") >= wanted:
            break
    assert page.run("window.reached.size") >= wanted
    page.run("document.getElementById('theme').focus()")
    before = page.run(COLOURS)
    page.press("Enter")
    assert page.run(COLOURS) != before


def test_sounds_play(page, pages):
    page.open(pages[0], width=390)
    seconds = page.run(
        "new Promise((done, failed) => { const a = document.querySelector('audio');"
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
