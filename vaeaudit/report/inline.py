"""Inline markup of a page's sentences: ``$math$``, ``**emphasis**``, `` `code` ``."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["text", "math", "strong", "code"]
Span = tuple[Kind, str]

# code first: nothing inside it is markup; \$ is a dollar sign
_MARKUP = re.compile(
    r"`(?P<code>[^`\n]+)`|(?<!\\)\$(?P<math>(?:\\\$|[^$])+?)(?<!\\)\$|\*\*(?P<strong>.+?)\*\*", re.S
)


def spans(text: str) -> list[Span]:
    r"""Split a sentence into text, math, emphasis and code; unmatched marks stay as they are.

    Examples
    --------
    >>> spans("`rate` is $\\beta$ times 5 \\$")
    [('code', 'rate'), ('text', ' is '), ('math', '\\beta'), ('text', ' times 5 $')]
    """
    found: list[Span] = []
    at = 0
    for match in _MARKUP.finditer(text):
        if match.start() > at:
            found.append(("text", prose(text[at : match.start()])))
        kind = match.lastgroup
        assert kind is not None
        found.append((kind, match[kind]))  # type: ignore[arg-type]
        at = match.end()
    if at < len(text):
        found.append(("text", prose(text[at:])))
    return found


def prose(text: str) -> str:
    """Plain text with true minus signs."""
    return re.sub(r"(?<![\w.−-])-(?=\d)", "−", text.replace("\\$", "$"))


def plain(text: str) -> str:
    """The sentence without its marks (LaTeX stays LaTeX)."""
    return "".join(value for _, value in spans(text))


def paragraphs(text: str) -> list[str]:
    """Paragraphs, which blank lines separate."""
    return [part.strip() for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]
