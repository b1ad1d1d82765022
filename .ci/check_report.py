"""Check that a finished run of the main job holds the tables and pages it promises."""

import json
import sys
from pathlib import Path

import pandas as pd
from pypdf import PdfReader

EXPECTED = {  # table → columns that it must have
    "quantities": {"group", "objective", "seed", "quantity", "value", "lower", "upper", "verdict"},
    "cross": {"group", "trained_under", "scored_under", "seed", "value", "se"},
    "bounds": {"group", "objective", "seed", "share_exceeding"},
    "history": {"group", "objective", "seed", "epoch", "elbo"},
}


def main(folder: Path) -> int:
    """Return the number of problems found."""
    problems = []
    frames = {}
    for name, columns in EXPECTED.items():
        path = folder / "tables" / f"{name}.csv"
        if not path.exists():
            problems.append(f"missing table {path.name}")
            continue
        frames[name] = pd.read_csv(path)
        missing = columns - set(frames[name].columns)
        if missing or frames[name].empty:
            problems.append(f"table {name}: missing columns {sorted(missing)}, {len(frames[name])} rows")
    html = (folder / "report.html").read_text(encoding="utf-8")
    if "<table" not in html or "<math" not in html or len(html) > 2_000_000:
        problems.append(f"report.html: tables, formulas or size ({len(html)} bytes) wrong")
    pages = PdfReader(folder / "report.pdf").pages
    text = "".join(page.extract_text() for page in pages)
    if "bounds" in frames:
        for objective in sorted(set(frames["bounds"]["objective"])):
            for what, content in (("report.html", html), ("report.pdf", text)):
                if objective not in content:
                    problems.append(f"{what} does not name the objective {objective}")
        elbo = frames["bounds"].query("objective == 'elbo'")["share_exceeding"]
        if not (elbo == 0).all():
            problems.append("the ELBO exceeded log p(x)")
    json.loads((folder / "results.json").read_text(encoding="utf-8"))
    print(
        "\n".join(problems) or f"ok: {len(EXPECTED)} tables, {len(pages)} PDF pages, {len(html)} bytes HTML"
    )
    return len(problems)


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1])) else 0)
