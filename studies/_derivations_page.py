"""The page of the derivations: claim by claim, then the linear-Gaussian theory; sentences from the tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _derivations_theory import noise_blocks, theory_sections
from _derivations_trained import power, trained_findings, trained_section

import vaeaudit as va
from vaeaudit.report import Finding, Math, Page, Section, Table, Text


def _stack(results: Mapping[str, va.CellResult], name: str) -> pd.DataFrame:
    return pd.concat([r.frames[name] for r in results.values() if name in r.frames], ignore_index=True)


INLINE = {  # plain text → math, in sentences
    "E_q": "$\\mathbb{E}_q$",
    "p_θ": "$p_\\theta$",
    "p_data": "$p_d$",
    "Σ_z": "$\\sum_z$",
    "σ_KL": "$\\sigma_{\\mathrm{KL}}$",
}


LETTERS = {"mu": "μ", "sigma": "σ", "lambda": "λ", "beta": "β", "rho": "ρ", "ell": "ℓ", "pi": "π"}
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _plain(text: str) -> str:
    """Formulas as sympy and the checks print them, in the letters of the page; names of objectives as they are."""
    text = str(text).replace("**", "^").replace("$", "").replace("sqrt(v)", "√v")
    text = re.sub(r"-oo\b", "−∞", re.sub(r"(?<![\w-])oo\b", "∞", text))
    names = "|".join(LETTERS)
    text = re.sub(rf"\b({names})(?=\d*\b)(?!\d*\()", lambda m: LETTERS[m[1]], text)
    text = re.sub(r"\^(-?\d+)", lambda m: m[1].translate(RAISED), text)
    text = re.sub(r"e\^\{(.*?)\}", r"exp(\1)", text)
    text = re.sub(r"(?<=[\w)⁰¹²³⁴⁵⁶⁷⁸⁹])\*(?=[\w(])", "·", text)
    return re.sub(r"(?<![\w⁻.-])-(?=[\dA-Za-zℓμσλβρπ(])", "−", text).replace(" - ", " − ")


def _sentence(text: str) -> str:
    for plain, math in INLINE.items():
        text = text.replace(plain, math)
    return text


def _claim(row: Any) -> list[Text | Math]:
    verdict = f"**Verdict: {row.verdict}.**" + (f" Condition: {row.conditions}." if row.conditions else "")
    if not row.agrees:
        verdict += f" The register says {row.registered}: **the two differ**."
    if row.counterexample:
        verdict += f" Counterexample: {_plain(row.counterexample)}."
    algebra = [
        part
        for part in re.split(r"; (?=numerics: |algebra: |search: )", row.evidence)
        if part.startswith("algebra: ")
    ]
    if algebra:
        verdict += f" Algebra: {_plain(algebra[-1].removeprefix('algebra: '))}."
    if row.verdict.startswith("measured"):
        evidence = _plain(row.evidence)
        verdict += f" {evidence[0].upper()}{evidence[1:]}."
    blocks: list[Text | Math] = [
        Text(f"**{row.id}.** {_sentence(row.statement)}"),
        Math(row.latex),
        Text(verdict),
    ]
    if row.correction:
        blocks += [Math(row.correction, "What is right.")]
    met = _sentence(row.met_in) + ("" if row.met_in.endswith(".") else ".")
    return [*blocks, Text(f"Met in: {met} Source: {row.source}. `vaeaudit check {row.claim}`")]


def _sections(claims: pd.DataFrame, noise: pd.DataFrame) -> list[Section]:
    found = []
    for family, rows in claims.groupby("family", sort=False):
        blocks: list[Any] = []
        for row in rows.itertuples():
            blocks += _claim(row)
        if (rows["id"] == "M14b").any():
            blocks += noise_blocks(noise)
        found.append(Section(str(family), blocks))
    return found


def _findings(frames: Mapping[str, pd.DataFrame]) -> list[Finding]:
    claims = frames["claims"]
    differ = claims[~claims["agrees"]]
    found = [
        Finding(
            "unreliable" if len(differ) else "pass",
            f"{int(claims['agrees'].sum())} of {len(claims)} claims reach their registered verdict"
            + (f"; not: {', '.join(differ['id'])}" if len(differ) else "")
            + ".",
            "Each verdict is computed anew from algebra, independent numbers and seeded searches; measured ones are read "
            "from the recorded tables of their studies.",
        )
    ]
    false = claims[claims["verdict"] == "false"]
    found.append(
        Finding(
            "warn",
            f"{len(false)} claims are false: {', '.join(false['id'])}.",
            "Each comes with a counterexample and the right formula.",
        )
    )
    optima = frames["optima"]
    fixed = optima[(optima["noise"] == "fixed") & (optima["how"] == "limit, not attained")]
    names = ", ".join(f"`{n}`" for n in dict.fromkeys(fixed["objective"]))
    if names:
        found.append(
            Finding(
                "warn",
                f"With a linear decoder these objectives have no optimum on these data: {names}.",
                "The objective rises without end as the decoder's weight grows and the code shrinks with "
                "its σ: the "
                "penalty stays bounded there, the KL would not. log p(x) falls without bound on the way.",
                "Fix the code's scale, or put the KL back.",
            )
        )
    kept = optima[
        optima["shortfall"].notna() & np.isfinite(optima["shortfall"]) & (optima["noise"] == "fixed")
    ]
    best = kept[kept["shortfall"] < 1e-9]["objective"].unique()
    found.append(
        Finding(
            "info",
            f"The maximum of log p(x) is reached by {', '.join(f'`{n}`' for n in best)}.",
            "All of them share probabilistic PCA's solution on these data; every other objective stops "
            "short of it.",
        )
    )
    if "verified" in frames and len(frames["verified"]):
        checked = frames["verified"]
        worst = checked["relative_error"].max()
        found.append(
            Finding(
                "pass" if worst < 1e-3 else "unreliable",
                f"Matrices trained from random starts reach the derived optima to {power(worst)} at worst.",
                f"{checked['objective'].nunique()} objectives; spectra: {checked['spectrum'].nunique()}, starts: "
                f"{checked['seed'].nunique()}; fixed and learned noise.",
            )
        )
    return found + trained_findings(frames["trained"])


ANSWERS = (  # claim, verdict → sentence
    ("A3", "false", "A penalty μ² + (σ − 1)² in the place of the KL is not equivalent"),
    ("A5", "holds under conditions", "it loses the bound wherever it is below the KL"),
    ("T2", "holds under conditions", "with a linear decoder it has no optimum above a threshold"),
    ("C4a", "identity", "scaling the KL by β is another decoder variance, βs², and nothing else"),
    ("B2a", "bound", "L2 on the heads keeps the bound"),
    ("B2b", "bound", "and pulls towards collapse"),
    ("E5", "bound", "the ELBO is maximised, its negative minimised"),
)


def _verdict(claims: pd.DataFrame) -> str:
    """The answers that the computed verdicts support, and the count of verdicts."""
    verdicts = claims.set_index("id")["verdict"]
    said = [sentence for claim, verdict, sentence in ANSWERS if verdicts[claim] == verdict]
    counts = claims["verdict"].str.replace(r" by .*", " by a study", regex=True).value_counts()
    return (
        "; ".join(said)
        + f". Of {len(claims)} claims: "
        + ", ".join(f"{n} {v}" for v, n in counts.items())
        + "."
    )


def page(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> Page:
    """The article."""
    names = ("claims", "optima", "verified", "trained", "by_weight", "by_noise", "ridge", "noise")
    frames = {name: _stack(results, name) for name in names}
    frames["claims"] = frames["claims"].fillna("")
    claims = frames["claims"]
    overview = claims[["id", "statement", "verdict", "agrees"]]
    evidence = claims[["id", "evidence"]].assign(evidence=claims["evidence"].map(_plain))
    return Page(
        name="derivations",
        title="What is claimed about VAE objectives, and what holds",
        question="Which of the formulas and claims about VAE objectives hold, which fail, and what does "
        "each objective's "
        "optimum look like where it can be derived?",
        verdict=_verdict(claims),
        findings=_findings(frames),
        sections=[
            Section(
                "All claims at a glance", [Table("claims", "Claims and verdicts.", overview, max_rows=120)]
            ),
            *theory_sections(frames),
            *trained_section(frames["trained"]),
            *_sections(claims, frames["noise"]),
            Section(
                "Evidence in full",
                [
                    Text(
                        "What each check found. A formula is first held against an independent number "
                        "(quadrature, scipy, "
                        "an optimiser); then the claim itself is decided by algebra and by a seeded search."
                    ),
                    Table("evidence", "Checks of every claim.", evidence, max_rows=200),
                ],
                collapsed=True,
            ),
        ],
    )
