"""LaTeX math of the subset as a tree; everything outside the subset is refused by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vaeaudit.core.errors import ReportError
from vaeaudit.report.latex_symbols import (
    ACCENTS,
    CALLS,
    CHARACTERS,
    DELIMITERS,
    ENVIRONMENTS,
    FONTS,
    IGNORED,
    LIMITS,
    OPERATORS,
    SIZES,
    SPACES,
    SYMBOLS,
    TEXTS,
)

_TOKEN = re.compile(r"\\([A-Za-z]+\*?)|\\(.)|(\s+)|(.)", re.DOTALL)
_SIZED = re.compile(r"(big|Big|bigg|Bigg)([lrm]?)")

Token = tuple[str, str]  # (kind, text); kinds: command, space, character
CLOSE: Token = ("character", "}")


@dataclass(frozen=True)
class Row:
    """Atoms side by side."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Leaf:
    """A character, number, name or text; ``kind`` says which and how it is spaced.

    Kinds: identifier, upright, number, name (an operator name), text, bold text, italic text, sans,
    mono, and the classes of `latex_symbols.Symbol`.
    """

    kind: str
    value: str
    limits: bool = False


@dataclass(frozen=True)
class Space:
    """Horizontal space in em."""

    width: float


@dataclass(frozen=True)
class Scripts:
    """A base with primes, subscript and superscript."""

    base: Node
    sub: Node | None = None
    sup: Node | None = None
    primes: int = 0


@dataclass(frozen=True)
class Call:
    """A command with arguments: fractions, accents, fonts, roots, braces."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Fence:
    r"""``\left … \middle … \right``: parts between delimiters that grow."""

    delimiters: tuple[str, ...]  # one more than parts
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Delimiter:
    r"""One delimiter of a given size, as ``\big(``."""

    char: str
    size: float
    side: str  # l, r, m or empty


@dataclass(frozen=True)
class Grid:
    """Rows and columns: aligned lines, cases, matrices."""

    kind: str
    opening: str
    closing: str
    rows: tuple[tuple[Node, ...], ...] = field(default_factory=tuple)


Node = Row | Leaf | Space | Scripts | Call | Fence | Delimiter | Grid
EMPTY = Row(())


def parse(latex: str) -> Row:
    r"""Parse LaTeX math.

    Raises
    ------
    ReportError
        For a command outside the subset, an unbalanced brace, a missing argument, an empty formula.

    Examples
    --------
    >>> parse(r"\sigma^2").items
    (Scripts(base=Leaf(kind='identifier', value='σ', limits=False), sub=None, sup=Leaf(...), primes=0),)
    """
    parser = _Parser(latex)
    if parser.peek() is None:
        raise parser.fail("it is empty")
    return parser.row()


class _Parser:
    def __init__(self, latex: str) -> None:
        self.latex = latex
        self.tokens: list[Token] = []
        for word, symbol, space, char in _TOKEN.findall(latex):
            self.tokens.append(
                ("command", word or symbol)
                if word or symbol
                else ("space", " ")
                if space
                else ("character", char)
            )
        self.at = 0

    def fail(self, problem: str, remedy: str = "") -> ReportError:
        remedy = f" {remedy}" if remedy else ""
        return ReportError(f"cannot print the formula {self.latex!r}: {problem}.{remedy}")

    def peek(self, *, skip_space: bool = True) -> Token | None:
        while skip_space and self.at < len(self.tokens) and self.tokens[self.at][0] == "space":
            self.at += 1
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, *, skip_space: bool = True) -> Token:
        token = self.peek(skip_space=skip_space)
        if token is None:
            raise self.fail("it ends too early", "Close every brace and give each command its arguments.")
        self.at += 1
        return token

    def row(self, *until: Token) -> Row:
        """Atoms up to one of the tokens ``until`` (not taken), or to the end if none is given."""
        items: list[Node] = []
        while (token := self.peek()) is not None and token not in until:
            atom = self.scripted()
            if atom != EMPTY:
                items.append(atom)
        if token is None and until:
            raise self.fail(f"{until[0][1]!r} is missing")
        return Row(tuple(items))

    def scripted(self) -> Node:
        """One atom with its primes, subscript and superscript."""
        bare = self.peek() in (("character", "^"), ("character", "_"), ("character", "'"))
        base: Node = EMPTY if bare else self.atom()
        primes, scripts = 0, dict[str, Node]()
        while (token := self.peek()) is not None:
            if token in (("command", "limits"), ("command", "nolimits")):
                self.at += 1
            elif token == ("character", "'"):
                self.at += 1
                primes += 1
            elif token in (("character", "^"), ("character", "_")):
                self.at += 1
                if token[1] in scripts:
                    raise self.fail(f"two {token[1]!r} on one base", "Group with braces.")
                scripts[token[1]] = self.argument()
            else:
                break
        return Scripts(base, scripts.get("_"), scripts.get("^"), primes) if scripts or primes else base

    def argument(self) -> Node:
        """A braced group or a single atom, as the argument of a command or script."""
        return self.group() if self.peek() == ("character", "{") else self.atom(whole_number=False)

    def group(self) -> Node:
        if self.take() != ("character", "{"):
            raise self.fail("'{' is missing")
        inner = self.row(CLOSE)
        self.take()
        return inner.items[0] if len(inner.items) == 1 else inner

    def characters(self, command: str) -> str:
        """The characters of a braced group as they stand, for text."""
        if self.take() != ("character", "{"):
            raise self.fail(f"\\{command} needs its argument in braces")
        text = ""
        while (token := self.take(skip_space=False)) != CLOSE:
            kind, value = token
            if kind == "command" and value not in (" ", ",", "_", "%", "&", "#", "$", "{", "}"):
                raise self.fail(f"\\{value} is not allowed inside \\{command}", "Close the text before it.")
            if token in (("character", "{"), ("character", "$")):
                raise self.fail(f"{value!r} is not allowed inside \\{command}")
            text += "\xa0" if kind == "command" and value in (" ", ",") else value
        return text

    def atom(self, *, whole_number: bool = True) -> Node:
        kind, value = self.take()
        if kind == "command":
            return self.command(value)
        if value == "{":
            self.at -= 1
            return self.group()
        if value in "}&^_":
            raise self.fail(f"{value!r} out of place")
        if value in "%#$\\":
            raise self.fail(f"{value!r} has a meaning of its own in LaTeX", f"Write \\{value}.")
        if value == "~":
            return Space(0.25)
        if value in "0123456789":
            return Leaf("number", value + (self.digits() if whole_number else ""))
        if value in CHARACTERS:
            return Leaf(CHARACTERS[value].kind, CHARACTERS[value].char)
        return Leaf("identifier" if value.isalpha() else "ordinary", value)

    def digits(self) -> str:
        """Further digits of the number, with a point if digits follow it."""
        text = ""
        while (token := self.peek(skip_space=False)) is not None and token[0] == "character":
            after = self.tokens[self.at + 1][1] if self.at + 1 < len(self.tokens) else ""
            if not (token[1] in "0123456789" or (token[1] == "." and after and after in "0123456789")):
                break
            text += self.take(skip_space=False)[1]
        return text

    def command(self, name: str) -> Node:
        if name in SYMBOLS:
            symbol = SYMBOLS[name]
            greek = symbol.kind == "ordinary" and symbol.char.isalpha()
            return Leaf("identifier" if greek else symbol.kind, symbol.char)
        if name in SPACES:
            return Space(SPACES[name])
        if name in OPERATORS:
            return Leaf("name", name, limits=name in LIMITS)
        if name in IGNORED:
            return EMPTY
        if name in CALLS:
            return Call(name, tuple(self.argument() for _ in range(CALLS[name])))
        if name in ACCENTS or name in FONTS:
            return Call(name, (self.argument(),))
        if name in TEXTS:
            return self.text(name)
        if name == "sqrt":
            return self.root()
        if name in ("underbrace", "overbrace"):
            return self.brace(name)
        if name == "left":
            return self.fenced()
        if name == "begin":
            return self.environment()
        if match := _SIZED.fullmatch(name):
            return Delimiter(self.delimiter(), SIZES[match[1]], match[2])
        if name in ("right", "middle", "end", "\\"):
            raise self.fail(f"\\{name} out of place")
        raise self.fail(f"unknown command \\{name}", "Known ones are in vaeaudit/report/latex_symbols.py.")

    def text(self, name: str) -> Leaf:
        text = self.characters(name)
        if name.startswith("operatorname"):
            return Leaf("name", text.replace(" ", ""), limits=name.endswith("*"))
        if name == "mathrm":  # only spaces written as "\ " count
            return Leaf("upright", text.replace(" ", ""))
        kinds = {"textbf": "bold text", "textit": "italic text", "mathsf": "sans", "mathtt": "mono"}
        return Leaf(kinds.get(name, "text"), text)

    def root(self) -> Call:
        if self.peek() != ("character", "["):
            return Call("sqrt", (self.argument(),))
        self.take()
        index = self.row(("character", "]"))
        self.take()
        return Call("root", (index, self.argument()))

    def brace(self, name: str) -> Call:
        body = self.argument()
        if self.peek() != ("character", "_" if name == "underbrace" else "^"):
            return Call(name, (body,))
        self.take()
        return Call(name, (body, self.argument()))

    def delimiter(self) -> str:
        kind, value = self.take()
        key = "\\" + value if kind == "command" else value
        if key not in DELIMITERS:
            raise self.fail(f"{key!r} is no delimiter", r"Use one of ( ) [ ] | \| \{ \} \langle \rangle.")
        return DELIMITERS[key]

    def fenced(self) -> Fence:
        delimiters, parts = [self.delimiter()], list[Node]()
        last: Token = ("command", "middle")
        while last != ("command", "right"):
            parts.append(self.row(("command", "right"), ("command", "middle")))
            last = self.take()
            delimiters.append(self.delimiter())
        return Fence(tuple(delimiters), tuple(parts))

    def environment(self) -> Grid:
        name = self.characters("begin")
        if name not in ENVIRONMENTS:
            raise self.fail(f"unknown environment {name!r}", f"Use one of {', '.join(sorted(ENVIRONMENTS))}.")
        rows: list[list[Node]] = [[]]
        while True:
            rows[-1].append(self.row(("command", "end"), ("character", "&"), ("command", "\\")))
            token = self.take()
            if token == ("command", "\\"):
                rows.append([])
            elif token == ("command", "end"):
                break
        if (closed := self.characters("end")) != name:
            raise self.fail(f"\\begin{{{name}}} is closed by \\end{{{closed}}}")
        if rows[-1] == [EMPTY]:  # a line break after the last line
            rows.pop()
        return Grid(*ENVIRONMENTS[name], tuple(tuple(row) for row in rows))
