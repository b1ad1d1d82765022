"""Pages with every kind of block, written to HTML and PDF."""

import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote_to_bytes

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing

from vaeaudit.core.errors import ReportError
from vaeaudit.report import write
from vaeaudit.report.page import Figure, Finding, Math, Page, Section, Table, Text
from vaeaudit.report.pdf import layout

EVIL = "<img src=x onerror=alert(1)>\"'&#[eval] \\u{1} $x"
VOID = {"meta", "img", "link", "br", "wbr", "input", "hr"}


def line_plot():
    figure = Drawing(figsize=(4, 2))
    figure.subplots().plot([0, 1, 2], [1.0, 0.5, 0.25], label="elbo")
    return figure


def dense_plot():
    figure = Drawing(figsize=(4, 2))
    rng = np.random.default_rng(0)
    figure.subplots().scatter(*rng.normal(size=(2, 6000)), s=1)
    return figure


def picture():
    figure = Drawing(figsize=(2, 2))
    figure.subplots().imshow(np.eye(4))
    return figure


RESULTS = pd.DataFrame(
    {"objective": ["elbo", EVIL, "beta(4)"], "rate": [12.5, 3.25, np.nan], "reliable": [True, False, True]}
)
PAGE = Page(
    name="demo",
    title="What does it optimise? " + EVIL,
    question="Is the value a bound on $\\log p(x)$?",
    verdict="It is **no** bound: see `rate`.\n\nSecond paragraph.",
    findings=[
        Finding("pass", "The ELBO holds $\\le \\log p(x)$."),
        Finding("info", "A note.", "Because."),
        Finding("warn", EVIL, EVIL, EVIL),
        Finding("unreliable", "No interval.", "Too few data.", "Use more."),
    ],
    sections=[
        Section(
            "Method",
            [Text("Inline $\\sigma^2$ and " + EVIL), Math(r"\sum_{k=1}^K \frac{1}{K} w_k", "The mean.")],
        ),
        Section(
            "Results " + EVIL,
            [
                Table("results", "All of it " + EVIL, RESULTS, note="In nats.", formats={"rate": ".2f"}),
                Table(
                    "long",
                    "Cut on the page.",
                    pd.DataFrame({"datum": range(100), "elbo": np.arange(100.0)}),
                    max_rows=7,
                ),
                Table("wide", "Wide.", pd.DataFrame({f"a_quantity_{i}": [1.0, 2.0] for i in range(40)})),
                Figure("line", "A line.", "A falling line " + EVIL, line_plot, frame=RESULTS),
                Figure("dense", "Many points.", "A cloud", dense_plot, width="half"),
                Figure("picture", "A picture.", "A diagonal", picture),
            ],
        ),
        Section("Results " + EVIL, [Text("Same title, collapsed.")], collapsed=True),
    ],
    provenance={
        "command": "vaeaudit run demo " + EVIL,
        "seeds": [0, 1],
        "data": {"name": "digits", "sha256": "ab" * 32},
    },
)


class Tree(HTMLParser):
    """Collects tags and attributes, and fails on tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write(PAGE, folder), folder


@pytest.fixture(scope="module")
def tree(written):
    return Tree(written[0].html.read_text(encoding="utf-8"))


def test_html_is_one_offline_file_within_two_megabytes(written, tree):
    text = written[0].html.read_text(encoding="utf-8")
    assert len(text.encode()) < 2_000_000
    for _, attributes in tree.tags:
        for name in ("src", "href", "poster", "data", "action"):
            if value := attributes.get(name):
                assert value.startswith(("data:", "#", "tables/", "figures/")), value
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert all(u.startswith("data:") for u in re.findall(r"url\(([^)]*)\)", style))
    assert "@import" not in style


def test_scripts_are_only_the_one_whose_hash_the_policy_names(written, tree):
    text = written[0].html.read_text(encoding="utf-8")
    policy = next(a["content"] for a in tree.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert len(tree.all("script")) == 1
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy


def test_hostile_text_is_shown_and_not_run(tree):
    assert not any(name.startswith("on") for _, attributes in tree.tags for name in attributes)
    assert all(a["src"].startswith("data:image/") for a in tree.all("img"))
    assert tree.text.count("<img src=x onerror=alert(1)>") >= 9  # title, findings, table, captions, …
    assert "A falling line " + EVIL in [a["alt"] for a in tree.all("img")]


def test_verdict_comes_first_and_every_section_is_in_the_contents(written, tree):
    text = written[0].html.read_text(encoding="utf-8")
    assert text.index('id="verdict"') < text.index('id="findings"') < text.index('id="s-method"')
    ids = [a["id"] for _, a in tree.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for a in tree.all("a") if a["href"].startswith("#")}
    assert links <= set(ids)
    assert {"verdict", "findings", "s-method", "provenance"} <= links


def test_findings_say_their_level_in_words_and_signs(tree):
    for word in ("✓ holds", "i note", "! caution", "✕ unreliable"):
        assert word in re.sub(r"\s+", " ", tree.text)


def test_tables_have_captions_scopes_units_and_sort_keys(written, tree):
    assert len(tree.all("caption")) == len(tree.all("table")) == 3
    assert all(a["scope"] in ("col", "row") for a in tree.all("th"))
    keys = [a["data-key"] for a in tree.all("td") if "data-key" in a]
    assert keys[:3] == ["12.5", "3.25", "nan"]
    text = written[0].html.read_text(encoding="utf-8")
    assert re.search(r">rate <span class=\"unit\">nats</span>", text)
    assert ">12.50<" in text
    assert ">–<" in text
    assert "The first 7 of 100 rows" in tree.text


def test_files_beside_the_page_are_whole(written):
    _, folder = written
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    figures = {f"figures/{n}.{k}" for n in ("line", "dense", "picture") for k in ("svg", "png")}
    tables = {f"tables/{n}.csv" for n in ("results", "long", "wide")}
    assert names == {"report.html", "report.pdf", "figures/line.csv"} | figures | tables
    assert len(pd.read_csv(folder / "tables/long.csv")) == 100


def test_light_figures_are_drawings_dense_ones_pictures(tree):
    sources = {a["alt"].split(" <")[0]: a["src"] for a in tree.all("img")}
    assert sources["A falling line"].startswith("data:image/svg+xml,")
    assert sources["A cloud"].startswith("data:image/png;base64,")
    drawing = unquote_to_bytes(sources["A falling line"].split(",", 1)[1])
    assert b'id="paper"' not in drawing  # the page's own ground shows
    assert b"</svg>" in drawing
    classes = [a["class"] for a in tree.all("figure") if "plot" in a.get("class", "")]
    assert classes == ["plot full", "plot half", "plot full pictorial"]


def test_formulas_bring_their_font(written):
    from io import BytesIO

    from fontTools.ttLib import TTFont

    text = written[0].html.read_text(encoding="utf-8")
    encoded = re.search(r"url\(data:font/woff2;base64,([^)]*)\)", text)[1]
    assert len(encoded) < 60_000
    font = TTFont(BytesIO(base64.b64decode(encoded)))
    assert {ord(c) for c in "∑𝑝𝑥𝜎𝑘≤("} <= set(font.getBestCmap())
    assert font["name"].getDebugName(1) == "VA Math"
    variants = font["MATH"].table.MathVariants
    sizes = dict(zip(variants.VertGlyphCoverage.glyphs, variants.VertGlyphConstruction, strict=True))
    heights = [r.AdvanceMeasurement for r in sizes[font.getBestCmap()[ord("∑")]].MathGlyphVariantRecord]
    assert heights == sorted(heights)
    assert heights[-1] >= font["MATH"].table.MathConstants.DisplayOperatorMinHeight


def test_a_page_without_formulas_brings_no_font(tmp_path):
    plain = Page("plain", "Plain", "Why?", "So.", [], [Section("One", [Text("No formula.")])])
    assert "@font-face" not in write(plain, tmp_path).html.read_text(encoding="utf-8")


def test_pdf_is_written_with_its_title_and_pages(written):
    pdf = written[0].pdf.read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 3
    assert re.search(rb"/MediaBox\s*\[0 0 841\.\d+ 595\.\d+\]", pdf)  # the wide table's landscape page
    assert re.search(rb"/MediaBox\s*\[0 0 595\.\d+ 841\.\d+\]", pdf)


def test_the_same_page_gives_the_same_bytes(written, tmp_path):
    again = write(PAGE, tmp_path)
    for path in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        assert path.read_bytes() == (written[1] / path.relative_to(tmp_path)).read_bytes(), path.name
    assert again.html.name == "report.html"


def test_large_pages_are_stored_more_sparingly_and_then_refused(tmp_path, monkeypatch):
    from vaeaudit.report import html

    noisy = Page("noisy", "Noise", "?", "!", [], [Section("One", [Figure("dense", "c", "a", dense_plot)])])
    full = len(write(noisy, tmp_path / "a").html.read_bytes())
    monkeypatch.setattr(html, "MAX_BYTES", int(full * 0.6))
    assert len(write(noisy, tmp_path / "b").html.read_bytes()) <= full * 0.6
    monkeypatch.setattr(html, "MAX_BYTES", 5_000)
    with pytest.raises(ReportError, match="more than 2 MB"):
        write(noisy, tmp_path / "c")


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        ([Text("$\\nosuch$")], r"unknown command \\nosuch"),
        ([Table("a/b", "c", RESULTS)], "file name"),
        ([Table("a", "c", RESULTS), Table("a", "d", RESULTS)], "overwrite"),
        ([Table("a", "", RESULTS)], "caption"),
        ([Table("a", "c", RESULTS, columns=["nope"])], "lacks"),
        ([Figure("f", "c", " ", line_plot)], "alt"),
        ([Figure("f", "c", "a", lambda: 3)], "matplotlib Figure"),
        (["bare"], "got str"),
    ],
)
def test_what_cannot_be_rendered_is_refused(blocks, problem, tmp_path):
    with pytest.raises(ReportError, match=problem):
        write(replace(PAGE, sections=[Section("S", blocks)]), tmp_path)


def test_without_typst_the_html_is_still_written(tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "typst" else find(name, *a)
    )
    with pytest.warns(UserWarning, match="pip install typst"):
        paths = write(Page("p", "T", "Q", "V", [], []), tmp_path)
    assert paths.pdf is None
    assert paths.html.exists()


def test_wide_tables_get_smaller_type_then_a_landscape_page_then_parts():
    assert layout([10] * 5) == (False, 8.5, [list(range(5))])
    assert layout([10] * 11)[:2] == (False, 7.5)
    assert layout([10] * 12)[:2] == (False, 6.5)
    assert layout([10] * 15)[:2] == (True, 8.5)
    landscape, size, groups = layout([10] * 60)
    assert (landscape, size) == (True, 6.5)
    assert len(groups) > 1
    assert all(g[0] == 0 for g in groups)  # the first column in every part
    assert sorted(j for g in groups for j in g[1:]) == list(range(1, 60))


def test_the_page_model_imports_nothing_heavy():
    code = (
        "import sys, vaeaudit.report, vaeaudit.report.page; "
        "print(sorted({'pandas', 'numpy', 'jax', 'matplotlib', 'jinja2', 'typst'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cells_have_true_minus_signs_and_a_note_without_words_is_left_to_the_file(tmp_path):
    frame = pd.DataFrame(
        {"evidence": ["`elbo` falls by -0.5 [-1, 0]", "iwae-like"], "value": [1.0, 2.0], "note": ["", ""]}
    )
    page = replace(PAGE, sections=[Section("One", [Table("one", "Caption.", frame)])])
    html = write(page, tmp_path).html.read_text(encoding="utf-8")
    assert ">elbo falls by −0.5 [−1, 0]<" in html
    assert "iwae-like" in html
    assert ">note<" not in html
    assert (tmp_path / "tables" / "one.csv").read_text().splitlines()[0] == "evidence,value,note"
    kept = replace(
        PAGE, sections=[Section("One", [Table("one", "Caption.", frame.assign(note=["", "one seed"]))])]
    )
    assert ">note<" in write(kept, tmp_path).html.read_text(encoding="utf-8")
