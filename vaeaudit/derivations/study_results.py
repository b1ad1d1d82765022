"""Verdicts that studies reached by measurement, kept as small tables beside the register."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from vaeaudit.core.errors import ArgumentError

COLUMNS = ("claim", "verdict", "evidence", "preset", "command")
VERDICTS = ("supported", "contradicted", "undecided", "holds under conditions")


@dataclass(frozen=True)
class StudyResult:
    """What a study's table says about one claim, and the command that measures it again."""

    claim: str
    verdict: str
    evidence: str
    preset: str
    command: str


def _folder() -> Path:
    return Path(str(resources.files("vaeaudit.derivations"))) / "measured"


@cache
def study_results(study: str) -> dict[str, StudyResult]:
    """The recorded verdicts of a study by claim id; empty where it has not been run."""
    path = _folder() / f"{study}.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as lines:
        return {row["claim"]: StudyResult(**row) for row in csv.DictReader(lines)}


def results_table(results_json: str | Path) -> str:
    """The ``claims`` table of a finished study as CSV text, with preset and command.

    Parameters
    ----------
    results_json
        ``results.json`` in the folder that ``vaeaudit run`` wrote.

    Returns
    -------
    str
        One line per claim (`COLUMNS`).

    Raises
    ------
    ArgumentError
        If the study has no table of claims, or a verdict that is none of `VERDICTS`.
    """
    document = json.loads(Path(results_json).read_text(encoding="utf-8"))
    study, preset = document["study"], document["preset"]
    if "claims" not in document["tables"]:
        raise ArgumentError(f"{results_json}: the study {study!r} has no table `claims`.")
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in document["tables"]["claims"]["rows"]:
        if row["verdict"] not in VERDICTS:
            raise ArgumentError(f"{results_json}: {row['verdict']!r} is none of {', '.join(VERDICTS)}.")
        kept = {key: row[key] for key in ("claim", "verdict", "evidence")}
        writer.writerow(kept | {"preset": preset, "command": _command(results_json, study, preset)})
    return out.getvalue()


def _command(results_json: str | Path, study: str, preset: str) -> str:
    """The command that made the results, without the folders of one machine."""
    provenance = Path(results_json).with_name("provenance.json")
    if not provenance.is_file():
        return f"vaeaudit run {study} --preset {preset}"
    words = shlex.split(json.loads(provenance.read_text(encoding="utf-8"))["command"])
    words = ["run" if word == "report" else word for word in words[:2]] + words[2:]  # which made the numbers
    for option in ("--output", "--data-dir"):
        if option in words:
            place = words.index(option)
            del words[place : place + 2]
    return shlex.join(words)


def main(folders: Sequence[str]) -> None:
    """Record the results of finished studies: ``python -m vaeaudit.derivations.study_results FOLDER…``."""
    if not folders:
        raise ArgumentError("name the folders of finished studies, e.g. reports/kl_scale.")
    for folder in folders:
        source = Path(folder) / "results.json"
        study = json.loads(source.read_text(encoding="utf-8"))["study"]
        target = _folder() / f"{study}.csv"
        target.parent.mkdir(exist_ok=True)
        target.write_text(results_table(source), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
