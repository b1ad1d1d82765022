"""Commands of the LaTeX subset: what each is, as a character and a class."""

from __future__ import annotations

from typing import NamedTuple


class Symbol(NamedTuple):
    """A character and how it is spaced: ordinary, relation, binary, large, opening, closing."""

    char: str
    kind: str = "ordinary"


def _group(kind: str, **names: str) -> dict[str, Symbol]:
    return {name: Symbol(char, kind) for name, char in names.items()}


SYMBOLS: dict[str, Symbol] = {
    **_group(
        "ordinary",
        alpha="α", beta="β", gamma="γ", delta="δ", epsilon="ϵ", varepsilon="ε", zeta="ζ", eta="η", theta="θ",
        vartheta="ϑ", iota="ι", kappa="κ", mu="μ", nu="ν", xi="ξ", pi="π", rho="ρ", sigma="σ", tau="τ",
        upsilon="υ", phi="ϕ", varphi="φ", chi="χ", psi="ψ", omega="ω", ell="ℓ",
        infty="∞", partial="∂", nabla="∇", forall="∀", exists="∃", top="⊤", bot="⊥", prime="′", dagger="†",
        emptyset="∅", neg="¬", ldots="…", dots="…", cdots="⋯", dotsc="…", dotsb="⋯", Vert="‖", vert="|",
    ),
    **_group(
        "upright",  # capitals stand upright in LaTeX
        Gamma="Γ", Delta="Δ", Theta="Θ", Lambda="Λ", Xi="Ξ", Pi="Π", Sigma="Σ", Upsilon="Υ", Phi="Φ", Psi="Ψ",
        Omega="Ω",
    ),
    **_group("large", sum="∑", prod="∏", bigcup="⋃", bigcap="⋂"),
    **_group("integral", int="∫", iint="∬"),
    **_group(
        "relation",
        le="≤", leq="≤", ge="≥", geq="≥", ne="≠", neq="≠", approx="≈", equiv="≡", sim="∼", simeq="≃",
        propto="∝", ll="≪", gg="≫", notin="∉", subset="⊂", subseteq="⊆", mid="∣", parallel="∥", coloneqq="≔",
        perp="⟂", lesssim="≲", gtrsim="≳", succeq="⪰", preceq="⪯", succ="≻", prec="≺", to="→",
        rightarrow="→", leftarrow="←", Rightarrow="⇒", Leftarrow="⇐", implies="⟹", iff="⟺",
        Leftrightarrow="⇔", leftrightarrow="↔", mapsto="↦", uparrow="↑", downarrow="↓", colon=":",
    ),
    **_group(
        "binary",
        cdot="⋅", times="×", pm="±", mp="∓", circ="∘", odot="⊙", oplus="⊕", otimes="⊗", cup="∪", cap="∩",
        setminus="∖", wedge="∧", vee="∨", ast="∗", star="⋆", div="÷",
    ),
    **_group("opening", lVert="‖", lvert="|", lbrace="{", langle="⟨", lfloor="⌊", lceil="⌈"),
    **_group("closing", rVert="‖", rvert="|", rbrace="}", rangle="⟩", rfloor="⌋", rceil="⌉"),
    "lambda": Symbol("λ"), "in": Symbol("∈", "relation"), "|": Symbol("‖"),
    "{": Symbol("{", "opening"), "}": Symbol("}", "closing"),
    "%": Symbol("%"), "&": Symbol("&"), "#": Symbol("#"), "$": Symbol("$"), "_": Symbol("_"),
}  # fmt: skip

# characters that stand for themselves
CHARACTERS: dict[str, Symbol] = {
    **{c: Symbol(c, "relation") for c in "=<>:≤≥≠≈≡∼∝∈→⇒∣"},
    **{c: Symbol(c, "binary") for c in "+×⋅±"},
    "-": Symbol("−", "binary"), "−": Symbol("−", "binary"), "*": Symbol("∗", "binary"),
    "(": Symbol("(", "opening"), "[": Symbol("[", "opening"),
    ")": Symbol(")", "closing"), "]": Symbol("]", "closing"),
    ",": Symbol(",", "punctuation"), ";": Symbol(";", "punctuation"),
    "∑": Symbol("∑", "large"), "∏": Symbol("∏", "large"), "∫": Symbol("∫", "integral"),
}  # fmt: skip

# command → width in em
SPACES: dict[str, float] = {
    ",": 3 / 18, ":": 4 / 18, ">": 4 / 18, ";": 5 / 18, " ": 0.25, "!": -3 / 18, "quad": 1.0, "qquad": 2.0,
    "enspace": 0.5,
}  # fmt: skip

# upright names; those in LIMITS take their subscript underneath in displayed formulas
OPERATORS = frozenset(
    ("log", "ln", "exp", "max", "min", "sup", "inf", "lim", "det", "dim", "ker", "arg", "sin", "cos", "tan",
     "sinh", "cosh", "tanh", "deg", "gcd", "Pr")
)  # fmt: skip
LIMITS = frozenset(("max", "min", "sup", "inf", "lim", "det", "gcd", "Pr"))

# command → number of arguments
CALLS: dict[str, int] = {
    "frac": 2, "dfrac": 2, "tfrac": 2, "binom": 2, "stackrel": 2, "overset": 2, "underset": 2, "boxed": 1,
}  # fmt: skip

ACCENTS: dict[str, str] = {
    "hat": "ˆ", "widehat": "ˆ", "bar": "¯", "tilde": "˜", "widetilde": "˜", "vec": "→", "dot": "˙",
    "ddot": "¨", "overline": "overline", "underline": "underline",
}  # fmt: skip

FONTS = frozenset(("mathbb", "mathcal", "mathscr", "mathbf", "boldsymbol", "bm", "mathit"))

# commands whose braces hold plain characters
TEXTS = frozenset(
    ("text", "textrm", "textbf", "textit", "mathrm", "mathsf", "mathtt", "operatorname", "operatorname*")
)

# no effect on the meaning, or the default here
IGNORED = frozenset(("displaystyle", "textstyle", "limits", "nolimits"))

# after \left, \right, \middle and \big
DELIMITERS: dict[str, str] = {
    "(": "(", ")": ")", "[": "[", "]": "]", "|": "|", "/": "/", ".": "", "<": "⟨", ">": "⟩",
    "\\|": "‖", "\\Vert": "‖", "\\lVert": "‖", "\\rVert": "‖", "\\vert": "|", "\\lvert": "|", "\\rvert": "|",
    "\\{": "{", "\\}": "}", "\\lbrace": "{", "\\rbrace": "}", "\\langle": "⟨", "\\rangle": "⟩",
    "\\lfloor": "⌊", "\\rfloor": "⌋", "\\lceil": "⌈", "\\rceil": "⌉",
}  # fmt: skip
SIZES = {"big": 1.2, "Big": 1.5, "bigg": 2.0, "Bigg": 2.5}  # em

# environment → (kind, opening delimiter, closing delimiter)
ENVIRONMENTS: dict[str, tuple[str, str, str]] = {
    "aligned": ("aligned", "", ""), "align*": ("aligned", "", ""), "gathered": ("gathered", "", ""),
    "cases": ("cases", "{", ""), "matrix": ("matrix", "", ""), "pmatrix": ("matrix", "(", ")"),
    "bmatrix": ("matrix", "[", "]"), "vmatrix": ("matrix", "|", "|"),
}  # fmt: skip
