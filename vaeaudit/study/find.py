"""Find studies: the scripts of a checkout's ``studies/``, or those packaged in the wheel."""

from __future__ import annotations

import ast
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import vaeaudit
from vaeaudit.core.errors import ArgumentError, UnknownNameError, unknown_name

if TYPE_CHECKING:
    from vaeaudit.study.study import Study


@dataclass(frozen=True)
class StudyFile:
    """A study's script and what its source says about it, read without running it."""

    name: str
    path: Path
    title: str
    question: str


def studies_folder() -> Path:
    """Return the checkout's ``studies`` folder, or the packaged copy."""
    package = Path(vaeaudit.__file__).resolve().parent
    checkout = package.parent / "studies"
    return (
        checkout
        if (package.parent / "pyproject.toml").is_file() and checkout.is_dir()
        else package / "_studies"
    )


def _literals(path: Path) -> dict[str, str]:
    """Text arguments of the ``Study(...)`` call in a script."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, UnicodeDecodeError):
        return {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if called == "Study":
                return {
                    word.arg: word.value.value
                    for word in node.keywords
                    if word.arg and isinstance(word.value, ast.Constant) and isinstance(word.value.value, str)
                }
    return {}


def list_studies(folder: Path | None = None) -> list[StudyFile]:
    """Every study script in the folder, by name; helpers start with an underscore."""
    folder = studies_folder() if folder is None else folder
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        words = _literals(path)
        found.append(StudyFile(path.stem, path, words.get("title", path.stem), words.get("question", "")))
    return found


def load_study(name: str) -> Study:
    """Load a study by its name, or from the path of a script that defines ``study``.

    Raises
    ------
    UnknownNameError
        If no study has this name (the message suggests close ones), or no script is at the path.
    ArgumentError
        If the script defines no ``study``.
    """
    path = Path(name)
    if path.suffix == ".py" or path.parent != Path():
        if not path.is_file():
            raise UnknownNameError(f"no study script at {path}. Give a study's name or the path of a script.")
    else:
        known = {study.name: study.path for study in list_studies()}
        if name not in known:
            raise unknown_name("study", name, list(known))
        path = known[name]
    return _import_study(path)


def _import_study(path: Path) -> Study:
    from vaeaudit.study.study import Study

    spec = importlib.util.spec_from_file_location(f"vaeaudit_study_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ArgumentError(f"{path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))  # as when the script runs by itself
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.resolve().parent))
    study = getattr(module, "study", None)
    if not isinstance(study, Study):
        raise ArgumentError(f"{path} must define a module-level `study = vaeaudit.Study(...)`; it does not.")
    return study
