"""The register covers the question list, its verdicts are computed, and a changed formula changes them."""

import pytest
import sympy as sp
from derivation_mutants import mutants

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, UnknownNameError
from vaeaudit.derivations.claim import Check, Claim, Outcome
from vaeaudit.derivations.register import COLUMNS, claims, families, select

ROWS = (
    [f"A{i}" for i in range(1, 11)]
    + [f"B{i}" for i in range(1, 13)]
    + [f"C{i}" for i in range(1, 17)]
    + [f"D{i}" for i in range(1, 10)]
    + [f"E{i}" for i in range(1, 8)]
    + [f"M{i}" for i in range(1, 17)]
)
BY_ID = {claim.id: claim for claim in claims()}


@pytest.fixture(scope="module")
def table():
    return va.check_derivations()


def test_every_claim_reaches_its_registered_verdict(table):
    wrong = table.loc[~table["agrees"], ["id", "verdict", "registered", "evidence"]]
    assert wrong.empty, wrong.to_string()
    assert list(table.columns) == list(COLUMNS)


@pytest.mark.parametrize("row", ROWS)
def test_every_question_and_point_is_registered(row):
    assert select(row)


def test_ids_and_names_are_unique():
    ids = [i for c in claims() for i in (c.id, *c.also)]
    assert len(ids) == len(set(ids))
    assert len({c.name for c in claims()}) == len(claims())
    assert all(c.family in families() for c in claims())


def test_two_kinds_of_check_unless_measured(table):
    settled = table[~table["registered"].str.startswith("measured")]
    assert all(len(kinds.split(", ")) >= 2 for kinds in settled["checks"])


def test_empirical_rows_are_left_to_a_study(table):
    verdicts = table.set_index("id")["verdict"]
    for row, study in {
        "A10c": "penalty_vs_kl",
        "C3b": "kl_scale",
        "C5b": "kl_scale",
        "C7": "kl_scale",
        "C15": "kl_scale",
        "D8": "aggregate_posterior",
    }.items():
        assert verdicts[row].startswith(f"measured by {study}")


def test_false_claims_carry_counterexample_and_most_a_correction(table):
    false = table[table["verdict"] == "false"]
    assert (false["counterexample"] != "").all()
    assert (false["correction"] != "").all()
    conditional = table[table["verdict"] == "holds under conditions"]
    assert (conditional["conditions"] != "").all()


@pytest.mark.parametrize("claim_id", [c.id for c in claims() if c.formulas])
def test_mutating_a_formula_flips_the_verdict(claim_id):
    claim = BY_ID[claim_id]
    survived = []
    for name, formula in claim.formulas.items():
        changed = mutants(formula)
        assert changed, f"{name} has no mutant"
        for label, mutant in changed:
            if claim.with_formula(name, mutant).judge(stop_early=True).verdict == claim.registered:
                survived.append(f"{name}: {label}")
    assert not survived, survived


@pytest.mark.parametrize(
    ("claim_id", "printed", "truth"),
    [
        ("A7a", "printed", "elbo"),
        ("C11", "printed", "joint"),
        ("B11c", "printed", "elbo"),
        ("B5a", "information", "rate"),
    ],
)
def test_the_relation_itself_decides_not_only_the_anchors(claim_id, printed, truth):
    """With the correct formula in place of the wrong one, algebra and search find an identity."""
    claim = BY_ID[claim_id]
    changed = {**claim.formulas, printed: claim.formulas[truth]}
    kinds = {c.kind: c.run(changed).verdict for c in claim.checks if c.kind != "numerics"}
    assert set(kinds.values()) == {"identity"}


@pytest.mark.parametrize(
    "claim_id", [c.id for c in claims() if c.registered == "identity" and not c.id.startswith("M4")]
)
def test_algebra_and_search_find_mutants_without_the_anchors(claim_id):
    claim = BY_ID[claim_id]
    relation = [c for c in claim.checks if c.kind != "numerics"]
    name = list(claim.formulas)[-1]  # one side of the relation
    for label, mutant in mutants(claim.formulas[name])[:2]:  # sign and half of the whole
        changed = {**claim.formulas, name: mutant}
        assert {c.run(changed).verdict for c in relation} - {"sound"} != {"identity"}, label


def test_counterexample_is_reproducible(table):
    again = va.check_derivations(["M3b", "A5", "E7b", "C2"])
    first = table.set_index("id").loc[again["id"], "counterexample"]
    assert list(first) == list(again["counterexample"])


def test_select_by_row_name_and_part():
    assert [c.id for c in select("C3")] == ["C3a", "C3b"]
    assert [c.name for c in select(["penalty-minus-kl", "M3a"])] == ["penalty-minus-kl"]
    with pytest.raises(UnknownNameError, match="Did you mean"):
        select("penalty-minus-lk")


def test_a_claim_refuses_one_kind_of_check_and_verdicts_without_support():
    base = {"name": "n", "statement": "s", "latex": "x", "met_in": "", "source": ""}
    check = Check("algebra", lambda f: Outcome("identity", ""))
    with pytest.raises(ArgumentError, match="two kinds"):
        Claim(id="X1", registered="identity", checks=(check, check), **base)
    with pytest.raises(ArgumentError, match="go together"):
        Claim(id="X1", registered="measured", **base)
    with pytest.raises(ArgumentError, match="say which"):
        Claim(id="X1", registered="holds under conditions", checks=(check,), **base)


def test_contradicting_checks_settle_nothing():
    claim = Claim(
        id="X1",
        name="n",
        statement="s",
        latex="x",
        met_in="",
        source="",
        registered="identity",
        formulas={"f": sp.Integer(1)},
        checks=(
            Check("algebra", lambda f: Outcome("identity", "")),
            Check("search", lambda f: Outcome("false", "")),
        ),
    )
    assert claim.judge().verdict == "unsettled"
