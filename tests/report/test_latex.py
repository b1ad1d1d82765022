import re
import xml.etree.ElementTree as ET

import pytest

from vaeaudit.core.errors import ReportError
from vaeaudit.report.latex import to_mathml, to_typst
from vaeaudit.report.latex_symbols import ACCENTS, CALLS, FONTS, OPERATORS, SPACES, SYMBOLS, TEXTS

FORMULAS = [
    r"\mathrm{KL}(q(z\mid x)\,\|\,p(z)) = \tfrac{1}{2}\left(\mu^2+\sigma^2-1-\log\sigma^2\right)",
    r"\log p_\theta = \underbrace{\mathbb{E}_{q_\phi(z\mid x)}[\log p(x\mid z)]}_{\text{a, (b) c \_ d}}",
    r"\text{say \_ 'x'; #f(\$) [y]} \text{ \& \% \{ \} }",
    r"f'(\sigma)=\frac{(\sigma-1)^2}{\sigma}\ge 0, \qquad x_{i,j}'' \ne {}^2 y",
    r"\hat p(x) = \frac{1}{K}\sum_{k=1}^{K} \frac{p(x,z_k)}{q(z_k\mid x)}, \quad z_k\sim q(\cdot\mid x)",
    r"\int p(x)\int q(z\mid x)\left\{\log p(x\mid z)-\frac{q(z\mid x)}{p(z)}\right\}dz\,dx",
    r"\begin{aligned} \mathcal{L}_K &\le \mathcal{L}_{K+1} \\ &\le \log p(x) \\ \end{aligned}",
    r"\begin{pmatrix} 1 & 0 \\ 0 & 2\end{pmatrix}",
    r"\begin{cases} a/b & x\ge 0 \\ b & \text{else; } x<0\end{cases}",
    r"\operatorname{Var}_x \mathbb E[z_j\mid x] > 0.01\%\; \nabla_\theta f \to -\infty \# \& \$",
    r"\tilde{x}^\top",
    r"\sqrt[3]{x} + \sqrt{1+\boldsymbol{\mu}^2}, \; \bar g \Big( \min_\phi \max_\theta \Big)",
    r"\left. \frac{\partial f}{\partial x} \right|_{x=0} \left\| x \middle| y \right\rangle",
    r"\overbrace{a+b}^{c} \overline{x y} \stackrel{d}{=} \binom{n}{k} \boxed{x} \mathbf{A}\mathbf{\beta}",
    r"\mathrm{for\ every}\ \lvert x \rvert, a;b,c:d|e/f*g~h!i?j@k`l",
]


def compile_typst(*formulas):
    import typst

    source = "\n".join(f"$ {to_typst(f)} $ and ${to_typst(f)}$" for f in formulas)
    return typst.compile(source.encode(), format="svg")


def shown(mathml):
    """The characters a reader sees, in order."""
    root = ET.fromstring(mathml)
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith("annotation"):
                parent.remove(child)
    return "".join(root.itertext())


@pytest.mark.parametrize("latex", FORMULAS)
def test_formulas_reach_both_renderings(latex):
    assert compile_typst(latex)
    root = ET.fromstring(to_mathml(latex, display=True))  # well-formed
    assert root.attrib == {"display": "block"}
    assert "\\" not in shown(to_mathml(latex))


def test_every_command_of_the_subset_compiles():
    argument = dict.fromkeys(CALLS, "{x}{y}") | dict.fromkeys([*ACCENTS, *FONTS], "{x}")
    argument |= dict.fromkeys(TEXTS, "{ab c}")
    formulas = [f"a \\{c}{argument.get(c, ' ')} b" for c in [*SYMBOLS, *SPACES, *OPERATORS, *argument]]
    assert compile_typst(*formulas)
    for formula in formulas:
        ET.fromstring(to_mathml(formula))


@pytest.mark.parametrize(
    ("latex", "typst", "characters"),
    [
        (r"\frac12\mu^2", "frac(1, 2) attach(μ, t: 2)", "12μ2"),
        (r"x_{i}^2", "attach(x, t: 2, b: i)", "xi2"),
        (r"f(x), [0)", r"f \( x \) \, \[ 0 \)", "f(x),[0)"),
        (r"1.25x - 0.5", "1.25 x − 0.5", "1.25x−0.5"),
        (r"\mathrm{KL}", "upright(K L)", "KL"),
        (r"\text{say \"no\"}", None, None),
        (r"\mathbb{E}_q", "attach(bb(E), b: q)", "𝔼q"),
        (r"\mathcal{N}\mathcal{L}", "cal(N) cal(L)", "𝒩ℒ"),
        (r"f'", "attach(f, t: ′)", "f′"),
    ],
)
def test_translations(latex, typst, characters):
    if typst is None:
        with pytest.raises(ReportError, match="not allowed inside"):
            to_typst(latex)
        return
    assert to_typst(latex) == typst
    assert shown(to_mathml(latex)) == characters


@pytest.mark.parametrize(
    ("latex", "problem"),
    [
        (r"\unknowncommand{x}", r"unknown command \\unknowncommand"),
        (r"\frac{1}", "ends too early"),
        (r"\frac{1}{2", "is missing"),
        (r"x}", "out of place"),
        (r"x^2^3", r"two '\^'"),
        (r"\left( x", "'right' is missing"),
        (r"\left? x \right)", "no delimiter"),
        (r"\begin{tikz}x\end{tikz}", "unknown environment"),
        (r"\begin{aligned}x\end{cases}", "closed by"),
        (r"50%", "meaning of its own"),
        ("", "empty"),
        (r"\\", "out of place"),
    ],
)
def test_what_is_outside_the_subset_is_refused_by_name(latex, problem):
    for translate in (to_typst, to_mathml):
        with pytest.raises(ReportError, match=problem):
            translate(latex)


def test_typst_code_cannot_be_smuggled_in():
    attacks = (
        r"#read(\text{/etc/passwd})",
        r"\#panic()",
        "x // y",
        '"#sys.version"',
        r"\text{#panic() \# ] }",
    )
    for attack in attacks:
        try:
            source = to_typst(attack)
        except ReportError:
            continue
        unquoted = re.sub(r'"(\\.|[^"\\])*"', "", source)
        assert not re.search(r"(?<!\\)#(?!h\()", unquoted)
        assert compile_typst(attack)


def test_html_in_a_formula_is_escaped():
    assert "<script" not in to_mathml(r"\text{<script>alert(1)</script>} a<b")
    assert shown(to_mathml(r"a<b")) == "a<b"


def test_every_formula_of_the_derivations_is_in_the_subset():
    from vaeaudit.derivations.register import claims

    formulas = [f for claim in claims() for f in (claim.latex, claim.correction) if f]
    assert len(formulas) > 50
    assert compile_typst(*formulas)
    for formula in formulas:
        ET.fromstring(to_mathml(formula))
