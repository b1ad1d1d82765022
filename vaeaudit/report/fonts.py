"""The math font that a page brings along: a small part of STIX with a MATH table.

STIX (SIL Open Font License) comes with matplotlib without the table that browsers need to place
limits and to stretch brackets; the sizes of its brackets lie in fonts of their own. Here the glyphs
that a page uses are put into one font under another name, as the licence asks, with that table.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import re
from html import unescape
from pathlib import Path
from typing import Any

FAMILY = "VA Math"
AXIS = 250  # height of the fraction bar, in thousandths of an em, as every number below
BEARING = 70  # white space beside a large bracket
_SIZES = ("One", "Two", "Three", "Four")
_STRETCHY = "()[]{}⟨⟩⌊⌋⌈⌉√"
_BARS = "|‖∣"
_LARGE = "∑∏⋃⋂"

# typographic constants of the OpenType MATH table, after those of STIX's successors
_CONSTANTS = {
    "ScriptPercentScaleDown": 72, "ScriptScriptPercentScaleDown": 58, "DelimitedSubFormulaMinHeight": 1325,
    "DisplayOperatorMinHeight": 1300, "MathLeading": 150, "AxisHeight": AXIS, "AccentBaseHeight": 460,
    "FlattenedAccentBaseHeight": 662, "SubscriptShiftDown": 210, "SubscriptTopMax": 360,
    "SubscriptBaselineDropMin": 160, "SuperscriptShiftUp": 360, "SuperscriptShiftUpCramped": 252,
    "SuperscriptBottomMin": 120, "SuperscriptBaselineDropMax": 230, "SubSuperscriptGapMin": 150,
    "SuperscriptBottomMaxWithSubscript": 380, "SpaceAfterScript": 40, "UpperLimitGapMin": 135,
    "UpperLimitBaselineRiseMin": 200, "LowerLimitGapMin": 135, "LowerLimitBaselineDropMin": 600,
    "StackTopShiftUp": 470, "StackTopDisplayStyleShiftUp": 780, "StackBottomShiftDown": 385,
    "StackBottomDisplayStyleShiftDown": 690, "StackGapMin": 150, "StackDisplayStyleGapMin": 300,
    "StretchStackTopShiftUp": 800, "StretchStackBottomShiftDown": 590, "StretchStackGapAboveMin": 68,
    "StretchStackGapBelowMin": 68,
    "FractionNumeratorShiftUp": 440, "FractionNumeratorDisplayStyleShiftUp": 680,
    "FractionDenominatorShiftDown": 430, "FractionDenominatorDisplayStyleShiftDown": 690,
    "FractionNumeratorGapMin": 68, "FractionNumDisplayStyleGapMin": 150, "FractionRuleThickness": 55,
    "FractionDenominatorGapMin": 68, "FractionDenomDisplayStyleGapMin": 150,
    "SkewedFractionHorizontalGap": 350, "SkewedFractionVerticalGap": 68,
    "OverbarVerticalGap": 175, "OverbarRuleThickness": 55,
    "OverbarExtraAscender": 68, "UnderbarVerticalGap": 175, "UnderbarRuleThickness": 55,
    "UnderbarExtraDescender": 68, "RadicalVerticalGap": 82, "RadicalDisplayStyleVerticalGap": 150,
    "RadicalRuleThickness": 55, "RadicalExtraAscender": 78, "RadicalKernBeforeDegree": 277,
    "RadicalKernAfterDegree": -500, "RadicalDegreeBottomRaisePercent": 65,
}  # fmt: skip


def math_characters(html: str) -> frozenset[str]:
    """Characters that a page's formulas show, slanted letters included."""
    found: set[str] = set()
    for formula in re.findall(r"<math.*?</math>", html, flags=re.S):
        shown = re.sub(r"<annotation.*?</annotation>", "", formula, flags=re.S)
        text = unescape(re.sub(r"<[^>]*>", "", shown))
        found |= set(text)
        if "<msqrt" in shown or "<mroot" in shown:
            found.add("√")
    return frozenset(found | {slanted(c) for c in found} - {" ", "\n", "\xa0"})


def slanted(char: str) -> str:
    """The mathematical italic of a letter, which browsers show for a one-letter ``<mi>``.

    Examples
    --------
    >>> slanted("x"), slanted("h"), slanted("σ"), slanted("+")
    ('𝑥', 'ℎ', '𝜎', '+')
    """
    special = {"h": "ℎ", "ϵ": "𝜖", "ϑ": "𝜗", "ϕ": "𝜙", "∂": "𝜕"}
    if char in special:
        return special[char]
    if "A" <= char <= "Z":
        return chr(0x1D434 + ord(char) - ord("A"))
    if "a" <= char <= "z":
        return chr(0x1D44E + ord(char) - ord("a"))
    if "α" <= char <= "ω":
        return chr(0x1D6FC + ord(char) - ord("α"))
    return char


def font_face(html: str) -> str:
    """A CSS ``@font-face`` rule with the font for a page's formulas; empty if it has none."""
    characters = math_characters(html)
    if not characters:
        return ""
    woff2 = importlib.util.find_spec("brotli") is not None
    data = base64.b64encode(math_font(characters, flavor="woff2" if woff2 else "woff")).decode()
    kind = "woff2" if woff2 else "woff"
    return f'@font-face{{font-family:"{FAMILY}";src:url(data:font/{kind};base64,{data}) format("{kind}")}}'


def _open(name: str) -> Any:
    import matplotlib
    from fontTools.ttLib import TTFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return TTFont(folder / f"{name}.ttf", recalcTimestamp=False, lazy=True)


def math_font(characters: frozenset[str], *, flavor: str = "woff2") -> bytes:
    """Build the font for the given characters; those that STIX lacks are left to the browser."""
    from fontTools.subset import Options, Subsetter

    font = _open("STIXGeneral")
    options = Options()
    options.drop_tables += ["FFTM", "GPOS", "GSUB", "GDEF"]
    options.name_IDs, options.notdef_outline, options.hinting = [1, 2, 4, 6], True, False
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=[ord(c) for c in characters])
    subsetter.subset(font)
    for record in font["name"].names:
        record.string = {1: FAMILY, 2: "Regular", 4: FAMILY, 6: FAMILY.replace(" ", "")}[record.nameID]
    _add_math_table(font, characters)
    font.flavor = flavor
    buffer = io.BytesIO()
    font.save(buffer)
    return buffer.getvalue()


def _add_math_table(font: Any, characters: frozenset[str]) -> None:
    from fontTools.otlLib.builder import buildMathTable

    cmap = font.getBestCmap()
    glyphs = font["glyf"]
    brackets = {cmap[ord(c)] for c in _STRETCHY[:-1] if ord(c) in cmap}
    glyph_is_bracket = brackets.__contains__
    for code in (c for c in cmap if 0x1D434 <= c <= 0x1D7C9):  # scripts must not touch slanted letters
        advance, bearing = font["hmtx"][cmap[code]]
        glyphs[cmap[code]].recalcBounds(glyphs)
        font["hmtx"][cmap[code]] = (max(advance, int(glyphs[cmap[code]].xMax)), bearing)
    variants: dict[str, list[tuple[str, int]]] = {}

    def add(
        base: str, glyph: Any, source: Any, advance: int, *, tall: float = 1.0, wide: float = 1.0
    ) -> None:
        name = f"{base}.s{len(variants.setdefault(base, [(base, _height(glyphs[base], glyphs))]))}"
        copy = glyphs[name] = _centred(glyph, source, tall=tall, wide=wide)
        left = min(copy.xMin, BEARING) if glyph_is_bracket(base) else copy.xMin
        copy.coordinates.translate((left - copy.xMin, 0))
        copy.recalcBounds(glyphs)
        right = min(advance * wide, copy.xMax + BEARING) if glyph_is_bracket(base) else advance * wide
        font["hmtx"][name] = (round(max(right, copy.xMax)), copy.xMin)
        variants[base].append((name, _height(glyphs[name], glyphs)))

    for char in (c for c in _STRETCHY[:-1] if c in characters and ord(c) in cmap):
        base = cmap[ord(char)]  # between the text size and the first larger one
        add(base, glyphs[base], glyphs, font["hmtx"][base][0], tall=1.2, wide=1.1)
    for size in _SIZES:
        wanted = [
            c for c in _STRETCHY + (_LARGE if size == "One" else "") if c in characters and ord(c) in cmap
        ]
        if not wanted:
            continue
        source = _open(f"STIXSiz{size}SymReg")
        names = source.getBestCmap()
        for char in wanted:
            if (name := names.get(ord(char))) is not None:
                glyph = source["glyf"][name]
                base = cmap[ord(char)]
                if size == "Four" and _height(glyph, source["glyf"]) < variants[base][-1][1]:
                    continue  # the radical of the last font is a piece for building longer ones
                add(base, glyph, source["glyf"], source["hmtx"][name][0])
    for char in (c for c in _BARS if c in characters and ord(c) in cmap):
        base = cmap[ord(char)]
        for tall in (1.4, 2.1, 2.8, 3.5):
            add(base, glyphs[base], glyphs, font["hmtx"][base][0], tall=tall)
    if "∫" in characters and ord("∫") in cmap:
        base = cmap[ord("∫")]
        add(base, glyphs[base], glyphs, font["hmtx"][base][0], tall=1.75, wide=1.3)
    buildMathTable(
        font,
        constants=_CONSTANTS,
        minConnectorOverlap=20,
        vertGlyphVariants=variants,
        italicsCorrections=dict.fromkeys(font.getGlyphOrder()[:1], 0),  # browsers drop a table without any
    )


def _height(glyph: Any, table: Any) -> int:
    glyph.recalcBounds(table)
    return int(glyph.yMax - glyph.yMin)


def _centred(glyph: Any, table: Any, *, tall: float = 1.0, wide: float = 1.0) -> Any:
    """A scaled copy of a glyph whose middle lies on the axis."""
    from fontTools.pens.transformPen import TransformPen
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    glyph.recalcBounds(table)
    middle = (glyph.yMax + glyph.yMin) / 2
    pen = TTGlyphPen(None)
    glyph.draw(TransformPen(pen, (wide, 0, 0, tall, 0, AXIS - middle * tall)), table)
    copy = pen.glyph()
    copy.recalcBounds(table)
    return copy
