"""Trees of LaTeX math as Typst math."""

from __future__ import annotations

from vaeaudit.report.latex_parser import EMPTY, Call, Delimiter, Fence, Grid, Leaf, Node, Row, Scripts, Space

_PLAIN = frozenset("+=<>−∗.")  # ASCII that Typst's math does not read as syntax, and characters of our own
_TEMPLATES = {
    "frac": "frac({0}, {1})", "dfrac": "display(frac({0}, {1}))", "tfrac": "inline(frac({0}, {1}))",
    "binom": "binom({0}, {1})", "stackrel": "limits({1})^({0})", "overset": "limits({1})^({0})",
    "underset": "limits({1})_({0})", "boxed": "#box(stroke: 0.5pt, inset: 4pt, $display({0})$)",
    "hat": "hat({0})", "widehat": "hat({0})", "bar": "macron({0})", "tilde": "tilde({0})",
    "widetilde": "tilde({0})", "vec": "arrow({0})", "dot": "dot({0})", "ddot": "dot.double({0})",
    "overline": "overline({0})", "underline": "underline({0})",
    "mathbb": "bb({0})", "mathcal": "cal({0})", "mathscr": "scr({0})", "mathbf": "upright(bold({0}))",
    "boldsymbol": "bold({0})", "bm": "bold({0})", "mathit": "italic({0})",
    "sqrt": "sqrt({0})", "root": "root({0}, {1})",
}  # fmt: skip


def typst_math(node: Node) -> str:
    """Typst source of a tree. Every character that Typst could read as syntax is escaped."""
    match node:
        case Row(items):
            return " ".join(map(typst_math, items)) if items else '""'
        case Leaf():
            return _leaf(node)
        case Space(width):
            return f"#h({width:.4f}em)"
        case Scripts():
            return _scripts(node)
        case Call(name, arguments) if name in ("underbrace", "overbrace"):
            return f"{name}({', '.join(map(typst_math, arguments))})"
        case Call(name, arguments):
            return _TEMPLATES[name].format(*map(typst_math, arguments))
        case Fence(delimiters, parts):
            pieces = [_char(delimiters[0])]
            for part, delimiter in zip(parts, delimiters[1:], strict=True):
                pieces += [typst_math(part), f"mid({_char(delimiter)})"]
            pieces[-1] = _char(delimiters[-1])
            return f"lr({' '.join(pieces)})"
        case Delimiter(char, size, side):
            grown = f"stretch({_char(char)}, size: #{size * 100:.0f}%)"
            kind = {"l": "opening", "r": "closing", "m": "relation"}.get(side, "normal")
            return f'class("{kind}", {grown})'
        case Grid():
            return _grid(node)


def _string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _char(char: str) -> str:
    if char == "":
        return '""'
    if char in "\xa0 ":
        return "space.nobreak"
    return "\\" + char if char.isascii() and not char.isalnum() and char not in _PLAIN else char


def _leaf(leaf: Leaf) -> str:
    match leaf.kind:
        case "number":
            return leaf.value
        case "name":
            known = {"log", "ln", "exp", "max", "min", "sup", "inf", "lim", "det"}
            limits = f", limits: #{'true' if leaf.limits else 'false'}"
            return leaf.value if leaf.value in known else f"op({_string(leaf.value)}{limits})"
        case "text":
            return _string(leaf.value)
        case "upright":  # letter by letter: a string would be spaced as a word
            return f"upright({' '.join(map(_char, leaf.value))})"
        case "bold text" | "italic text" | "sans" | "mono":
            return f"{leaf.kind.split()[0]}({_string(leaf.value)})"
        case "opening" | "closing":
            return f'class("{leaf.kind}", {_char(leaf.value)})' if leaf.value in "|‖" else _char(leaf.value)
        case _:  # a bar is no relation in LaTeX
            return f'class("normal", {_char(leaf.value)})' if leaf.value in "|‖" else _char(leaf.value)


def _scripts(node: Scripts) -> str:
    top = " ".join(["′" * node.primes] * bool(node.primes) + ([typst_math(node.sup)] if node.sup else []))
    parts = [typst_math(node.base) if node.base != EMPTY else '""']
    parts += [f"t: {top}"] if top else []
    parts += [f"b: {typst_math(node.sub)}"] if node.sub else []
    return f"attach({', '.join(parts)})"


def _grid(grid: Grid) -> str:
    rows = [[typst_math(cell) for cell in row] for row in grid.rows]
    if grid.kind == "cases":
        return f"cases({', '.join(' & quad '.join(row) for row in rows)})"
    if grid.kind == "matrix":
        delim = f'delim: "{grid.opening}"' if grid.opening else "delim: #none"
        return f"mat({delim}, {'; '.join(', '.join(row) for row in rows)})"
    return " \\ ".join((" & " if grid.kind == "aligned" else " ").join(row) for row in rows)
