"""Commands of the LaTeX subset and what they are in Typst math."""

from __future__ import annotations

SYMBOLS = {
    # Greek, lower case
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ϵ", "varepsilon": "ε", "zeta": "ζ",
    "eta": "η", "theta": "θ", "vartheta": "ϑ", "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν",
    "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "upsilon": "υ", "phi": "ϕ", "varphi": "φ",
    "chi": "χ", "psi": "ψ", "omega": "ω", "ell": "ℓ",
    # Greek, upper case: upright, as in LaTeX
    "Gamma": "upright(Γ)", "Delta": "upright(Δ)", "Theta": "upright(Θ)", "Lambda": "upright(Λ)",
    "Xi": "upright(Ξ)", "Pi": "upright(Π)", "Sigma": "upright(Σ)", "Upsilon": "upright(Υ)",
    "Phi": "upright(Φ)", "Psi": "upright(Ψ)", "Omega": "upright(Ω)",
    # large operators
    "sum": "∑", "prod": "∏", "int": "∫", "iint": "∬", "bigcup": "⋃", "bigcap": "⋂",
    # relations
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "equiv": "≡",
    "sim": "∼", "simeq": "≃", "propto": "∝", "ll": "≪", "gg": "≫", "in": "∈", "notin": "∉", "subset": "⊂",
    "subseteq": "⊆", "mid": "∣", "parallel": "∥", "coloneqq": "≔", "perp": "⟂", "lesssim": "≲", "gtrsim": "≳",
    "succeq": "⪰", "preceq": "⪯", "succ": "≻", "prec": "≺",
    # arrows
    "to": "→", "rightarrow": "→", "leftarrow": "←", "Rightarrow": "⇒", "Leftarrow": "⇐", "implies": "⟹",
    "iff": "⟺", "Leftrightarrow": "⇔", "leftrightarrow": "↔", "mapsto": "↦", "uparrow": "↑", "downarrow": "↓",
    # binary operators
    "cdot": "⋅", "times": "×", "pm": "±", "mp": "∓", "circ": "∘", "odot": "⊙", "oplus": "⊕", "otimes": "⊗",
    "cup": "∪", "cap": "∩", "setminus": "∖", "wedge": "∧", "vee": "∨", "ast": "∗", "star": "⋆", "div": "÷",
    # others
    "infty": "∞", "partial": "∂", "nabla": "∇", "forall": "∀", "exists": "∃", "top": "⊤", "bot": "⊥",
    "prime": "′", "dagger": "†", "emptyset": "∅", "neg": "¬", "ldots": "…", "dots": "…", "cdots": "⋯",
    "dotsc": "…", "dotsb": "⋯", "|": 'class("normal", ‖)', "Vert": 'class("normal", ‖)',
    "lVert": 'class("opening", ‖)',
    "rVert": 'class("closing", ‖)', "vert": 'class("normal", \\|)', "lvert": 'class("opening", \\|)',
    "rvert": 'class("closing", \\|)', "{": "\\{", "}": "\\}", "lbrace": "\\{", "rbrace": "\\}",
    "langle": "⟨", "rangle": "⟩", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "colon": "\\:",
    "%": "%", "&": "\\&", "#": "\\#", "$": "\\$", "_": "\\_", "Re": "ℜ", "Im": "ℑ",
}  # fmt: skip

SPACES = {
    ",": "thin", ":": "med", ">": "med", ";": "thick", " ": "med", "!": "#h(-1em / 6)", "quad": "quad",
    "qquad": "wide", "enspace": "#h(0.5em)",
}  # fmt: skip

# upright names of the same spelling in Typst
OPERATORS = frozenset(
    ("log", "ln", "exp", "max", "min", "sup", "inf", "lim", "det", "dim", "ker", "arg", "sin", "cos", "tan",
     "sinh", "cosh", "tanh", "deg", "gcd", "liminf", "limsup", "Pr")
)  # fmt: skip

# command → (Typst template, number of arguments)
CALLS = {
    "frac": ("frac({}, {})", 2),
    "dfrac": ("display(frac({}, {}))", 2),
    "tfrac": ("inline(frac({}, {}))", 2),
    "binom": ("binom({}, {})", 2),
    "hat": ("hat({})", 1), "widehat": ("hat({})", 1), "bar": ("macron({})", 1),
    "overline": ("overline({})", 1), "underline": ("underline({})", 1), "tilde": ("tilde({})", 1),
    "widetilde": ("tilde({})", 1), "vec": ("arrow({})", 1), "dot": ("dot({})", 1),
    "ddot": ("dot.double({})", 1), "mathbb": ("bb({})", 1), "mathcal": ("cal({})", 1),
    "mathscr": ("scr({})", 1), "mathbf": ("upright(bold({}))", 1), "boldsymbol": ("bold({})", 1),
    "bm": ("bold({})", 1), "mathit": ("italic({})", 1), "stackrel": ("limits({1})^({0})", 2),
    "overset": ("limits({1})^({0})", 2), "underset": ("limits({1})_({0})", 2),
    "boxed": ("#box(stroke: 0.5pt, inset: 4pt, $display({})$)", 1),
}  # fmt: skip

# commands whose braces hold plain characters
TEXTS = frozenset(
    ("text", "textrm", "textbf", "textit", "mathrm", "mathsf", "mathtt", "operatorname", "operatorname*")
)

# no effect on the meaning, or the default here
IGNORED = frozenset(("displaystyle", "textstyle", "limits", "nolimits"))

DELIMITERS = {
    "(": "\\(", ")": "\\)", "[": "\\[", "]": "\\]", "|": "\\|", "/": "\\/", ".": '""', "<": "⟨", ">": "⟩",
    "\\|": "‖", "\\Vert": "‖", "\\lVert": "‖", "\\rVert": "‖", "\\vert": "\\|", "\\lvert": "\\|",
    "\\rvert": "\\|", "\\{": "\\{", "\\}": "\\}", "\\lbrace": "\\{", "\\rbrace": "\\}",
    "\\langle": "⟨", "\\rangle": "⟩", "\\lfloor": "⌊", "\\rfloor": "⌋", "\\lceil": "⌈", "\\rceil": "⌉",
}  # fmt: skip

# environment → (opening, between cells, between rows, closing)
ENVIRONMENTS = {
    "aligned": ("", " & ", " \\ ", ""),
    "align*": ("", " & ", " \\ ", ""),
    "gathered": ("", " ", " \\ ", ""),
    "cases": ("cases(", " & ", ", ", ")"),
    "matrix": ("mat(delim: #none, ", ", ", "; ", ")"),
    "pmatrix": ('mat(delim: "(", ', ", ", "; ", ")"),
    "bmatrix": ('mat(delim: "[", ', ", ", "; ", ")"),
    "vmatrix": ('mat(delim: "|", ', ", ", "; ", ")"),
}
