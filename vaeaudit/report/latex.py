"""The subset of LaTeX math that reports may use, checked and translated.

One parser decides what is allowed; whatever it does not know is refused by name, so that no formula
is ever printed as garbage. Typst source comes from the parser itself, MathML from latex2mathml.
"""

from __future__ import annotations

import re
from functools import lru_cache

from vaeaudit.core.errors import ReportError
from vaeaudit.report.latex_symbols import (
    CALLS,
    DELIMITERS,
    ENVIRONMENTS,
    IGNORED,
    OPERATORS,
    SPACES,
    SYMBOLS,
    TEXTS,
)

_TOKEN = re.compile(r"\\([A-Za-z]+\*?)|\\(.)|(\s+)|(.)", re.DOTALL)
_ESCAPED = frozenset("()[]{},;/&#$\"_^'|\\:*@`~<>=-+!")  # would mean something to Typst's parser
_SIZES = re.compile(r"(big|Big|bigg|Bigg)(l|r|m)?$")
_GROWTH = {"big": "120%", "Big": "150%", "bigg": "200%", "Bigg": "250%"}

Token = tuple[str, str]  # (kind, text): command, space, character


def _tokens(latex: str) -> list[Token]:
    found: list[Token] = []
    for match in _TOKEN.finditer(latex):
        word, symbol, space, char = match.groups()
        if word or symbol:
            found.append(("command", word or symbol))
        elif space:
            found.append(("space", " "))
        else:
            found.append(("character", char))
    return found


def _string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _character(char: str) -> str:
    if char == "-":
        return "−"
    return "\\" + char if char in _ESCAPED else char


class _Parser:
    def __init__(self, latex: str) -> None:
        self.latex = latex
        self.tokens = _tokens(latex)
        self.at = 0

    def fail(self, problem: str, remedy: str = "") -> ReportError:
        return ReportError(
            f"cannot print the formula {self.latex!r}: {problem}." + (f" {remedy}" if remedy else "")
        )

    def peek(self, *, skip_space: bool = True) -> Token | None:
        if skip_space:
            while self.at < len(self.tokens) and self.tokens[self.at][0] == "space":
                self.at += 1
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, *, skip_space: bool = True) -> Token:
        token = self.peek(skip_space=skip_space)
        if token is None:
            raise self.fail("it ends too early", "Close every brace and give each command its arguments.")
        self.at += 1
        return token

    def expect(self, token: Token) -> None:
        got = self.take()
        if got != token:
            raise self.fail(f"expected {token[1]!r}, got {got[1]!r}")

    def row(self, *, until: tuple[Token, ...] = ()) -> str:
        """Atoms up to one of the tokens ``until`` (not taken) or the end."""
        parts = []
        while (token := self.peek()) is not None and token not in until:
            parts.append(self.scripted())
        if token is None and until:
            raise self.fail(f"{until[0][1]!r} is missing")
        return " ".join(parts)

    def scripted(self) -> str:
        """One atom with its primes, subscript and superscript."""
        start = self.peek()
        bare = start in (("character", "^"), ("character", "_"), ("character", "'"))
        base = '""' if bare else self.atom()
        primes, scripts = 0, {"^": "", "_": ""}
        while (token := self.peek()) is not None and token[0] == "character" and token[1] in "'^_":
            self.at += 1
            if token[1] == "'":
                primes += 1
                continue
            if scripts[token[1]]:
                raise self.fail(f"two {token[1]!r} on one base", "Group with braces.")
            scripts[token[1]] = self.argument()
        top = " ".join(x for x in ("′" * primes, scripts["^"]) if x)
        if not top and not scripts["_"]:
            return base
        options = [f"t: {top}"] if top else []
        options += [f"b: {scripts['_']}"] if scripts["_"] else []
        return f"attach({base}, {', '.join(options)})"

    def argument(self) -> str:
        """A braced group or a single atom, as an argument of a command or script."""
        if self.peek() == ("character", "{"):
            return self.group()
        return self.atom(whole_number=False) or '""'

    def group(self) -> str:
        self.expect(("character", "{"))
        inner = self.row(until=(("character", "}"),))
        self.expect(("character", "}"))
        return inner or '""'

    def raw_group(self, command: str) -> str:
        """The characters of a braced group as they stand, for text."""
        if self.take() != ("character", "{"):
            raise self.fail(f"\\{command} needs its argument in braces")
        text = ""
        while (token := self.take(skip_space=False)) != ("character", "}"):
            kind, value = token
            if kind == "command" and value not in (" ", ",", "_", "%", "&", "#", "$", "{", "}"):
                raise self.fail(f"\\{value} is not allowed inside \\{command}", "Close the text before it.")
            if token == ("character", "{"):
                raise self.fail(f"braces are not allowed inside \\{command}")
            text += " " if (kind, value) == ("command", ",") else value
        return text

    def atom(self, *, whole_number: bool = True) -> str:
        kind, value = self.take()
        if kind == "command":
            return self.command(value)
        if value == "{":
            self.at -= 1
            return self.group()
        if value in "}&":
            raise self.fail(f"{value!r} out of place")
        if value in "%#$\\":
            raise self.fail(f"{value!r} has a meaning of its own in LaTeX", f"Write \\{value}.")
        if value == "~":
            return "space.nobreak"
        if value.isdigit() and whole_number:  # digits of one number stay together
            while (token := self.peek(skip_space=False)) is not None and (
                token[1].isdigit() or (token[1] == "." and self.digit_follows())
            ):
                value += self.take(skip_space=False)[1]
            return value
        return _character(value)

    def digit_follows(self) -> bool:
        after = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else ("", "")
        return after[0] == "character" and after[1].isdigit()

    def command(self, name: str) -> str:
        if name in SYMBOLS:
            return SYMBOLS[name]
        if name in SPACES:
            return SPACES[name]
        if name in OPERATORS:
            return name
        if name in IGNORED:
            return '""'
        if name in CALLS:
            template, count = CALLS[name]
            return template.format(*(self.argument() for _ in range(count)))
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
        if match := _SIZES.match(name):
            return f"stretch({self.delimiter()}, size: #{_GROWTH[match[1]]})"
        if name in ("right", "middle", "end", "\\"):
            raise self.fail(f"\\{name} out of place")
        raise self.fail(f"unknown command \\{name}", "Known ones are in vaeaudit/report/latex_symbols.py.")

    def text(self, name: str) -> str:
        text = self.raw_group(name)
        if name == "text":
            return _string(text)
        body = _string(text.replace(" ", "") if name != "textrm" else text)
        if name in ("operatorname", "operatorname*"):
            return f"op({body}, limits: #{'true' if name.endswith('*') else 'false'})"
        if name in ("mathrm", "textrm", "rm"):
            return f"upright({body})" if len(text.strip()) == 1 else f"op({body})"
        return f"{ {'mathsf': 'sans', 'mathtt': 'mono', 'textbf': 'bold', 'textit': 'italic'}[name] }({body})"

    def root(self) -> str:
        if self.peek() != ("character", "["):
            return f"sqrt({self.argument()})"
        self.take()
        index = self.row(until=(("character", "]"),))
        self.take()
        return f"root({index}, {self.argument()})"

    def brace(self, name: str) -> str:
        body, sign = self.argument(), "_" if name == "underbrace" else "^"
        if self.peek() != ("character", sign):
            return f"{name}({body})"
        self.take()
        return f"{name}({body}, {self.argument()})"

    def delimiter(self) -> str:
        kind, value = self.take()
        key = "\\" + value if kind == "command" else value
        if key not in DELIMITERS:
            raise self.fail(f"{key!r} is no delimiter", "Use one of ( ) [ ] | \\| \\{ \\} \\langle \\rangle.")
        return DELIMITERS[key]

    def fenced(self) -> str:
        left = self.delimiter()
        parts, stops = [], (("command", "right"), ("command", "middle"))
        while True:
            parts.append(self.row(until=stops))
            if self.take() == ("command", "right"):
                break
            parts.append(f"mid({self.delimiter()})")
        return f"lr({left} {' '.join(parts)} {self.delimiter()})"

    def environment(self) -> str:
        name = self.raw_group("begin")
        if name not in ENVIRONMENTS:
            raise self.fail(f"unknown environment {name!r}", f"Use one of {', '.join(sorted(ENVIRONMENTS))}.")
        cell_end = (("character", "&"), ("command", "\\"), ("command", "end"))
        rows: list[list[str]] = [[]]
        while True:
            rows[-1].append(self.row(until=cell_end))
            token = self.take()
            if token == ("command", "\\"):
                rows.append([])
            elif token == ("command", "end"):
                break
        if self.raw_group("end") != name:
            raise self.fail(f"\\begin{{{name}}} is closed by another \\end")
        if rows[-1] == [""]:  # a trailing line break
            rows.pop()
        opening, between, row_end, closing = ENVIRONMENTS[name]
        return opening + row_end.join(between.join(cell or '""' for cell in row) for row in rows) + closing


@lru_cache(maxsize=512)
def to_typst(latex: str) -> str:
    r"""Translate LaTeX math to Typst math.

    Raises
    ------
    ReportError
        For a command outside the subset, an unbalanced brace or a missing argument.

    Examples
    --------
    >>> to_typst(r"\frac{1}{2}\mu^2")
    'frac(1, 2) attach(μ, t: 2)'
    """
    parser = _Parser(latex)
    if parser.peek() is None:
        raise parser.fail("it is empty")
    return parser.row()


@lru_cache(maxsize=512)
def to_mathml(latex: str, *, display: bool = False) -> str:
    """Translate LaTeX math to MathML, after the same check as `to_typst`.

    Raises
    ------
    ReportError
        As `to_typst`, or if latex2mathml fails.
    """
    to_typst(latex)
    from latex2mathml.converter import convert
    from latex2mathml.exceptions import (
        DenominatorNotFoundError,
        DoubleSubscriptsError,
        DoubleSuperscriptsError,
        ExtraLeftOrMissingRightError,
        MissingEndError,
        MissingSuperScriptOrSubscriptError,
        NoAvailableTokensError,
        NumeratorNotFoundError,
    )

    try:
        return convert(_for_latex2mathml(latex), display="block" if display else "inline")
    except (
        DenominatorNotFoundError,
        DoubleSubscriptsError,
        DoubleSuperscriptsError,
        ExtraLeftOrMissingRightError,
        MissingEndError,
        MissingSuperScriptOrSubscriptError,
        NoAvailableTokensError,
        NumeratorNotFoundError,
    ) as error:
        raise ReportError(
            f"cannot print the formula {latex!r} as MathML: {type(error).__name__}. "
            "Group arguments with braces."
        ) from error


def _for_latex2mathml(latex: str) -> str:
    """Spellings that latex2mathml does not know, in those that it does."""
    latex = re.sub(r"\\(?:tfrac|dfrac)(?![A-Za-z])", r"\\frac", latex)
    latex = re.sub(r"\\operatorname\*", r"\\operatorname", latex)
    latex = re.sub(r"\\(?:boldsymbol|bm)(?![A-Za-z])", r"\\mathbf", latex)
    return re.sub(r"\\(?:displaystyle|textstyle|nolimits)(?![A-Za-z])", "", latex)
