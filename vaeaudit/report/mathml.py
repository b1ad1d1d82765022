"""Trees of LaTeX math as MathML Core, spaced as TeX would."""

from __future__ import annotations

from html import escape

from vaeaudit.core.errors import ReportError
from vaeaudit.report.latex_parser import EMPTY, Call, Delimiter, Fence, Grid, Leaf, Node, Row, Scripts, Space
from vaeaudit.report.latex_symbols import ACCENTS

_LETTERS = frozenset(("identifier", "number", "upright", "text", "bold text", "italic text", "sans", "mono"))
# after these, + and − are signs
_BEFORE_SIGN = frozenset(("relation", "binary", "opening", "punctuation", "name", "large", "integral"))

THIN, MEDIUM, THICK = "0.167em", "0.222em", "0.278em"

# letters of a font that Unicode has elsewhere than in the mathematical block
_EXCEPTIONS = {
    "mathcal": dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ", strict=True)),
    "mathbb": dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True)),
}
_STARTS = {"mathcal": (0x1D49C, 0x1D4B6), "mathbb": (0x1D538, 0x1D552), "mathbf": (0x1D400, 0x1D41A)}
_STARTS["boldsymbol"] = (0x1D468, 0x1D482)  # bold italic
_GREEK = {"mathbf": 0x1D6C2, "boldsymbol": 0x1D736}  # α


def styled(char: str, font: str) -> str:
    """A letter in a mathematical font, as its Unicode character.

    Examples
    --------
    >>> styled("E", "mathbb"), styled("N", "mathcal"), styled("L", "mathcal")
    ('𝔼', '𝒩', 'ℒ')
    """
    font = {"mathscr": "mathcal", "bm": "boldsymbol"}.get(font, font)
    if char in _EXCEPTIONS.get(font, {}):
        return _EXCEPTIONS[font][char]
    if "A" <= char <= "Z":
        return chr(_STARTS[font][0] + ord(char) - ord("A"))
    if "a" <= char <= "z":
        return chr(_STARTS[font][1] + ord(char) - ord("a"))
    if "α" <= char <= "ω" and font in _GREEK:
        return chr(_GREEK[font] + ord(char) - ord("α"))
    if char.isdigit() and font in ("mathbb", "mathbf", "boldsymbol"):
        return chr((0x1D7D8 if font == "mathbb" else 0x1D7CE) + int(char))
    raise ReportError(f"\\{font} has no character for {char!r}; use it on Latin letters.")


def mathml(node: Node) -> str:
    """MathML of a tree, without the outer ``<math>``."""
    match node:
        case Row(items):
            return "<mrow>" + _row(items) + "</mrow>" if len(items) != 1 else mathml(items[0])
        case Leaf():
            return _leaf(node)
        case Space(width):
            return f'<mspace width="{width:.3f}em"></mspace>'
        case Scripts():
            return _scripts(node)
        case Call():
            return _call(node)
        case Fence(delimiters, parts):
            pieces = [_fence(delimiters[0], "prefix")]
            last = len(parts) - 1
            for i, part in enumerate(parts):
                pieces += [mathml(part), _fence(delimiters[i + 1], "postfix" if i == last else "infix")]
            return f"<mrow>{''.join(pieces)}</mrow>"
        case Delimiter(char, size, side):
            form = {"l": "prefix", "r": "postfix"}.get(side, "infix")
            sized = f'minsize="{size}em" maxsize="{size}em" stretchy="true" symmetric="true"'
            space = THICK if side == "m" else "0"
            return f'<mo form="{form}" {sized} lspace="{space}" rspace="{space}">{escape(char)}</mo>'
        case Grid():
            return _grid(node)


def _row(items: tuple[Node, ...]) -> str:
    pieces: list[str] = []
    for i, item in enumerate(items):
        before = items[i - 1] if i else None
        after = items[i + 1] if i + 1 < len(items) else None
        if _kind(item) == "binary" and (before is None or _kind(before) in _BEFORE_SIGN):
            pieces.append(_leaf_operator(item, "0", "0"))  # a sign, not an operation
            continue
        name = _kind(item) in ("name", "large", "integral")
        if name and before is not None and _kind(before) in ("ordinary", "closing", "name"):
            pieces.append(f'<mspace width="{THIN}"></mspace>')
        pieces.append(mathml(item))
        if name and after is not None and _kind(after) == "ordinary":
            pieces.append(f'<mspace width="{THIN}"></mspace>')
    return "".join(pieces)


def _kind(node: Node) -> str:
    """Class of an atom for the spacing beside it."""
    match node:
        case Leaf(kind):
            return "ordinary" if kind in _LETTERS else kind
        case Scripts(base):
            return _kind(base)
        case Delimiter(side=side):
            return {"l": "opening", "r": "closing", "m": "relation"}.get(side, "ordinary")
        case Fence():
            return "fence"
        case Space():
            return "space"
        case _:
            return "ordinary"


def _leaf_operator(node: Node, left: str, right: str) -> str:
    if isinstance(node, Scripts):
        return mathml(node)
    assert isinstance(node, Leaf)
    return f'<mo lspace="{left}" rspace="{right}">{escape(node.value)}</mo>'


def _leaf(leaf: Leaf) -> str:
    value = escape(leaf.value)
    match leaf.kind:
        case "number":
            return f"<mn>{value}</mn>"
        case "identifier":
            return f"<mi>{value}</mi>"
        case "upright":
            return f'<mi mathvariant="normal">{value}</mi>' if len(leaf.value) == 1 else f"<mi>{value}</mi>"
        case "name":
            movable = ' movablelimits="true"' if leaf.limits else ""
            return f'<mo lspace="0" rspace="0"{movable}>{value}</mo>' if leaf.limits else f"<mi>{value}</mi>"
        case "text" | "bold text" | "italic text" | "sans" | "mono":
            style = {"bold text": "font-weight:bold", "italic text": "font-style:italic"}
            style |= {"sans": "font-family:sans-serif", "mono": "font-family:monospace"}
            attribute = f' style="{style[leaf.kind]}"' if leaf.kind in style else ""
            return f"<mtext{attribute}>{value.replace(' ', chr(0xA0))}</mtext>"
        case "large":
            return f'<mo lspace="0" rspace="0" largeop="true" movablelimits="true">{value}</mo>'
        case "integral":
            return f'<mo lspace="0" rspace="0" largeop="true">{value}</mo>'
        case "relation":
            return f'<mo lspace="{THICK}" rspace="{THICK}" stretchy="false">{value}</mo>'
        case "binary":
            return f'<mo lspace="{MEDIUM}" rspace="{MEDIUM}" stretchy="false">{value}</mo>'
        case "punctuation":
            return f'<mo lspace="0" rspace="{THIN}">{value}</mo>'
        case "opening" | "closing":
            form = "prefix" if leaf.kind == "opening" else "postfix"
            return f'<mo form="{form}" stretchy="false" lspace="0" rspace="0">{value}</mo>'
        case _:
            if leaf.value in "∞∂∇∀∃⊤⊥∅¬…⋯":
                return f'<mi mathvariant="normal">{value}</mi>'
            return f'<mo stretchy="false" lspace="0" rspace="0">{value}</mo>'


def _fence(char: str, form: str) -> str:
    if not char:
        return ""
    space = THICK if form == "infix" else "0"
    return (
        f'<mo form="{form}" fence="true" stretchy="true" symmetric="true" lspace="{space}" rspace="{space}">'
        f"{escape(char)}</mo>"
    )


def _scripts(node: Scripts) -> str:
    base = mathml(node.base) if node.base != EMPTY else "<mrow></mrow>"
    under = isinstance(node.base, Leaf) and (node.base.kind == "large" or node.base.limits)
    sub = _tight(mathml(node.sub)) if node.sub is not None else None
    sup = _tight(mathml(node.sup)) if node.sup is not None else None
    if sub is not None and sup is not None:
        tag = "munderover" if under else "msubsup"
        text = f"<{tag}>{base}{sub}{sup}</{tag}>"
    elif sub is not None:
        tag = "munder" if under else "msub"
        text = f"<{tag}>{base}{sub}</{tag}>"
    elif sup is not None:
        tag = "mover" if under else "msup"
        text = f"<{tag}>{base}{sup}</{tag}>"
    else:
        text = base
    if node.primes:  # the prime of a text font is raised already
        text = f'<mrow>{text}<mo class="prime" lspace="0" rspace="0">{"′" * node.primes}</mo></mrow>'
    return text


def _tight(markup: str) -> str:
    """Scripts have no space around relations and operations."""
    for width in (MEDIUM, THICK):
        markup = markup.replace(f'lspace="{width}" rspace="{width}"', 'lspace="0.06em" rspace="0.06em"')
    return markup


def _call(node: Call) -> str:
    name, inner = node.name, [mathml(a) for a in node.arguments]
    if name in ("frac", "dfrac", "tfrac"):
        text = f"<mfrac>{inner[0]}{inner[1]}</mfrac>"
        if name == "frac":
            return text
        return f'<mstyle displaystyle="{"true" if name == "dfrac" else "false"}">{text}</mstyle>'
    if name == "binom":
        stack = f'<mfrac linethickness="0">{inner[0]}{inner[1]}</mfrac>'
        return f"<mrow>{_fence('(', 'prefix')}{stack}{_fence(')', 'postfix')}</mrow>"
    if name in ("stackrel", "overset"):
        return f"<mover>{inner[1]}{inner[0]}</mover>"
    if name == "underset":
        return f"<munder>{inner[1]}{inner[0]}</munder>"
    if name == "boxed":
        return f'<mrow class="boxed">{inner[0]}</mrow>'
    if name == "sqrt":
        return f"<msqrt>{inner[0]}</msqrt>"
    if name == "root":
        return f"<mroot>{inner[1]}{inner[0]}</mroot>"
    if name in ("overline", "underline"):
        return f'<mrow class="{name}">{inner[0]}</mrow>'
    if name in ("underbrace", "overbrace"):
        body = f'<mrow class="{name}">{inner[0]}</mrow>'
        if len(inner) == 1:
            return body
        tag = "munder" if name == "underbrace" else "mover"
        return f"<{tag}>{body}{inner[1]}</{tag}>"
    if name in ACCENTS:
        return f'<mover accent="true">{inner[0]}<mo stretchy="false">{ACCENTS[name]}</mo></mover>'
    return _font(node.arguments[0], name)


def _font(node: Node, font: str) -> str:
    match node:
        case Row(items):
            return "<mrow>" + "".join(_font(item, font) for item in items) + "</mrow>"
        case Leaf("identifier" | "upright" | "number", value):
            if font == "mathit":
                return f"<mi>{escape(value)}</mi>"
            text = "".join(styled(c, font) for c in value)
            return f'<mi mathvariant="normal">{text}</mi>'
        case Scripts(base, sub, sup, primes):
            return _scripts(Scripts(Call(font, (base,)), sub, sup, primes))
        case _:
            return mathml(node)


def _grid(grid: Grid) -> str:
    rows = "".join(
        "<mtr>" + "".join(f"<mtd>{mathml(cell)}</mtd>" for cell in row) + "</mtr>" for row in grid.rows
    )
    display = ' displaystyle="true"' if grid.kind in ("aligned", "gathered") else ""
    table = f'<mtable class="{grid.kind}"{display}>{rows}</mtable>'
    if not (grid.opening or grid.closing):
        return table
    return f"<mrow>{_fence(grid.opening, 'prefix')}{table}{_fence(grid.closing, 'postfix')}</mrow>"
