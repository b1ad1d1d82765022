"""The page docs/benchmarks.md from the records in benchmarks/results: what was timed, how, and what came out.

    python benchmarks/page.py [--check]

``--check`` writes nothing and exits 1 where the page is not what the records give.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from timing import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Made by `python benchmarks/page.py` from the records in `benchmarks/results/`. Contenders take turns within one
run, and ratios are taken round by round, since what disturbs a machine disturbs neighbours in time alike. An
absolute time here belongs to the machine named beside it and to no other. No table was made on a GPU yet; the
commands for one are `python benchmarks/sweep.py --accelerator`, `python benchmarks/evidence.py --rounds 5` and
`python benchmarks/aggregate.py --largest`.
"""


@dataclass(frozen=True)
class Part:
    """One benchmark: the stem of its files, and what a reader should know before its table."""

    stem: str
    title: str
    command: str
    about: str


PARTS = (
    Part(
        "sweep",
        "Training: a sweep against loops",
        "python benchmarks/sweep.py --rounds 3 --whole-process --pythae FOLDER",
        "`va.sweep` against PyTorch loops that train one model after another: a plain one, a tuned one, and "
        "pythae's trainer; `FOLDER` is one into which pythae was installed with `pip install --no-deps --target`. "
        "PyTorch runs in processes of its own, as `processes × threads`. Targets are set against one process "
        "with its best threading; a process per core is shown beside it. Before any timing both sides train to "
        "the same ELBO within their spread over seeds. The ceiling is the matrix products of a step and nothing "
        "else.",
    ),
    Part(
        "full_mnist",
        "Training: all of MNIST",
        "python benchmarks/full_mnist.py --data-dir DIR",
        "Eight models on 60,000 images with dynamic binarisation, in one process.",
    ),
    Part(
        "evidence",
        "log p(x): importance weights and annealing",
        "python benchmarks/evidence.py --rounds 7 --pythae FOLDER",
        "Importance samples and leapfrog steps per second, against codes for the same decoder; PyTorch with one "
        "thread or all, whichever is faster. Ratios above 1 mean that vaeaudit is faster.",
    ),
    Part(
        "aggregate",
        "The aggregate posterior: log q_N(z)",
        "python benchmarks/aggregate.py",
        "The density of a mixture of N Gaussians at M points, against the forms that people write.",
    ),
    Part(
        "scaling",
        "What estimators cost over N, K, T, M, J and D",
        "python benchmarks/scaling.py",
        "Every point is a fresh process. Expected exponents are slopes of counted operations over the same points.",
    ),
    Part(
        "weak_scaling",
        "Weak scaling on forced devices and on processes",
        "python benchmarks/weak_scaling.py",
        "The same work per worker with more workers; docs/cluster.md says what this can and cannot show.",
    ),
    Part(
        "profile_run",
        "Where a quick run spends its time",
        "python benchmarks/profile_run.py --rounds 2",
        "`vaeaudit run objectives --preset quick` in a fresh process, with a cold and a warm compilation cache. The "
        "largest part of a first run is compilation: objectives and seeds share programs, programs compile side by "
        "side, and each is kept on disk whatever its size, so that a second run only traces and reads them.",
    ),
)


def section(part: Part) -> str:
    """Heading, what it is, command, machine, and the tables as the benchmark printed them."""
    record = json.loads((RESULTS / f"{part.stem}.json").read_text(encoding="utf-8"))
    machine = record.get("machine", {})
    names = {
        "cpu": "",
        "cores": "cores ",
        "python": "Python ",
        "jax": "jax ",
        "torch": "torch ",
        "commit": "commit ",
    }
    where = ", ".join(f"{word}{machine[key]}" for key, word in names.items() if machine.get(key))
    text = (RESULTS / f"{part.stem}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith(("{", "python benchmarks/"))]
    return "\n".join(
        [
            f"## {part.title}",
            "",
            part.about + (f" Measured on: {where}." if where else ""),
            "",
            "```",
            part.command,
            "```",
            "",
            _spaced(lines),
        ]
    )


def _spaced(lines: list[str]) -> str:
    """A blank line between text and tables, as Markdown needs; tables without bars as they are."""
    bars = any(line.startswith("|") for line in lines)
    if not bars:
        return "\n".join(["```", *lines, "```"])
    out: list[str] = []
    for line in lines:
        if out and out[-1] and line and line.startswith("|") != out[-1].startswith("|"):
            out.append("")
        out.append(line)
    return "\n".join(out).strip()


def page() -> str:
    """The whole page; parts that were not measured yet are named."""
    measured = [part for part in PARTS if (RESULTS / f"{part.stem}.json").exists()]
    missing = [f"`{part.command}`" for part in PARTS if part not in measured]
    parts = [HEAD.strip(), *map(section, measured)]
    if missing:
        parts.append("Not measured yet: " + ", ".join(missing) + ".")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit(f"{PAGE} is not what the records give: run python benchmarks/page.py")
        return
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
