"""report.html says what report.md says, needs nothing else, and believes no name."""

import base64
import dataclasses
import hashlib
import json
import re

import pytest

from ser_jax.report import html, markdown, report, training_report
from ser_jax.workdir import contents
from tests.report import hostile
from tests.report.page import Page


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    folder = hostile.workdir(tmp_path_factory.mktemp("hostile"))
    report.write_report(folder)
    return folder


@pytest.fixture(name="page", scope="module")
def _page(folder):
    return Page((folder / "report.html").read_text())


def test_nothing_outside_the_file_is_named(page, folder):
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, attributes)
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                assert value.startswith(("#", "data:")), (tag, value)
    style = re.search(r"<style>(.*?)</style>", (folder / "report.html").read_text(), 16)
    assert "url(" not in style[1] and "@import" not in style[1]


def test_the_policy_allows_the_one_script_only(page):
    (policy,) = [m["content"] for m in page.named("meta") if "http-equiv" in m]
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy and "connect-src" not in policy


def test_names_from_files_stay_text(page):
    assert len(page.scripts) == 1 and not page.named("img") and not page.named("b")
    assert hostile.SCRIPT in page.text
    assert 'onerror="window.broken=1"' in page.text
    assert {"style", "script"} <= {tag for tag, _ in page.tags}


def test_page_can_be_read_without_eyes_and_mouse(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name in ("aria-labelledby", "href"):
            target = attributes.get(name, "#" if name == "href" else ids[0])
            if name == "aria-labelledby" or target.startswith("#"):
                assert target.lstrip("#") in [*ids, ""], target
    assert page.named("html") == [{"lang": "en"}]
    assert len(page.named("h1")) == 1 and len(page.named("main")) == 1
    assert any("width=device-width" in m.get("content", "") for m in page.named("meta"))
    assert len(page.captions) == len(page.tables) and all(page.captions)
    scopes = {attributes["scope"] for attributes in page.named("th")}
    assert scopes == {"col", "row"}
    pictures = [a for a in page.named("svg") if a.get("aria-hidden") != "true"]
    assert len(pictures) >= 3
    assert all(a["role"] == "img" and a["aria-label"] for a in pictures)
    wide = [a for a in page.named("div") if a.get("class") == "wide"]
    assert len(wide) == len(page.tables)
    assert all(a["tabindex"] == "0" and a["role"] == "region" for a in wide)
    assert all(a["aria-label"] for a in page.named("audio"))
    assert page.named("button")[0]["type"] == "button"


def _markdown_tables(text):
    """Cells of Markdown tables as a reader sees them."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
        del rows[1]  # the rule
        yield [[_seen(cell) for cell in row] for row in rows]


def _seen(text):
    """Without the marks of Markdown; HTML shows none."""
    parts = re.split(r"((?<!\\)`[^`]*`)", text.replace("\\|", "|"))
    parts[1::2] = [part[1:-1] for part in parts[1::2]]
    parts[::2] = [
        re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)\*\*", "", part)).replace("&lt;", "<")
        for part in parts[::2]
    ]
    return " ".join("".join(parts).split())


def test_both_reports_hold_the_same_tables_and_words(page, folder):
    text = (folder / "report.md").read_text()
    tables = list(_markdown_tables(text))
    played = [row for row in page.tables[9] if row[3] == ""]  # heard, not read
    assert len(played) == len(page.named("audio")) > 3
    for row in played:
        row[3] = "in report.html"
    assert tables == page.tables
    words = "".join(page.text.split())
    lines = re.sub(r"(?:^\|.*\n)+|^!\[.*$|^```$", "", text, flags=re.MULTILINE)
    for line in lines.splitlines():
        words_here = _seen(re.sub(r"^(#+|>|\s*-) ", "", line))
        if not words_here.startswith("UA –"):  # HTML has tiles for this sentence
            assert "".join(words_here.split()) in words, line


def test_numbers_are_those_of_the_results(page, folder):
    results = json.loads((folder / "results.json").read_text())
    scores = page.tables[0]
    for run, row in zip(results["runs"], scores[1:], strict=False):
        ua = "–" if run["ua"] is None else f"{100 * run['ua']:.2f}"
        cells = [f"{run['fold']}*", "0", ua, f"{100 * run['wa']:.2f}"]
        assert row[:4] == cells and row[5] == str(run["n_test"])
    assert ["mean ± std", "", "– ± –"] == scores[11][:3]
    confusion = page.tables[4]
    for counts, row in zip(results["pooled"]["confusion"], confusion[1:], strict=True):
        assert [int(cell.split()[0]) for cell in row[1:-2]] == counts
        assert row[-2] == str(sum(counts))
    assert confusion[1 + hostile.NEVER][-1] == "–"


def test_report_counts_forty_speakers_and_three_sessions(page):
    assert [len(table) - 1 for table in page.tables[5:7]] == [hostile.SPEAKERS, 3]
    assert sum(int(row[1]) for row in page.tables[5][1:]) == 360
    assert "<b>speaker 2</b>" == page.tables[5][3][0]  # 2 before 10


def test_stamps_are_on_the_page(page):
    assert "Synthetic corpus." in page.text
    assert "Paper mode: epoch chosen on test data." in page.text


def test_inline_marks_become_tags_and_nothing_else_does():
    markup = html.inline("**a** `<b>` <c> \\* `**d**`")
    assert markup == (
        "<strong>a</strong> <code>&lt;b&gt;</code> &lt;c&gt; * <code>**d**</code>"
    )


def test_a_corpus_of_many_speakers_keeps_its_table_short(monkeypatch, folder):
    monkeypatch.setattr("ser_jax.report.diagnostics.MOST_GROUPS", 7)
    page = Page(html.render(training_report.document(contents.read(folder))))
    assert "the 7 with the most decisions of 40" in page.text
    assert len(page.tables[5]) == 1 + 7


def test_a_workdir_without_recordings_says_so(page, folder):
    training = dataclasses.replace(contents.read(folder), recordings={})
    document = training_report.document(training)
    older = Page(html.render(document))
    for text in (older.text, markdown.render(document)):
        assert "the workdir has no recordings.csv" in text
    assert not older.named("audio")
    assert {row[6] for row in older.tables[8][1:]} == {"–"}
    assert older.tables[:8] == page.tables[:8]
