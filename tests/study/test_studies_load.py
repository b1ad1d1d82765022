"""Studies load from any folder: beside the package in a checkout, and inside the wheel."""

import json
import shutil
import subprocess
import sys

from vaeaudit.study.find import list_studies, studies_folder

PROBE = """
import json, pathlib, sys
from vaeaudit.study.find import list_studies, load_study

folder = pathlib.Path(sys.argv[1])
names = {str(study.path): load_study(str(study.path)).name for study in list_studies(folder)}
beside = [getattr(module, "__file__", None) or "" for name, module in sys.modules.items() if name[0] == "_"]
print(json.dumps([names, [path for path in beside if pathlib.Path(path).stem in sys.argv[2:]]]))
"""


def test_every_study_loads_from_a_copy_of_the_folder_with_its_own_parts(tmp_path):
    folder = tmp_path / "_studies"  # the name it has in the wheel
    shutil.copytree(studies_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    parts = sorted(path.stem for path in folder.glob("_*.py"))
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(folder), *parts], capture_output=True, text=True, check=True
    )
    names, loaded = json.loads(done.stdout.splitlines()[-1])
    assert set(names.values()) == {study.name for study in list_studies()}
    assert {path.rpartition("/")[2] for path in map(str, loaded)} == {f"{part}.py" for part in parts}
    assert all(path.startswith(str(folder)) for path in loaded)


def test_studies_use_public_names_of_the_package_alone():
    """Names that start with an underscore, and parts of modules with one, are nobody's business."""
    for path in sorted(studies_folder().glob("*.py")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(("from vaeaudit", "import vaeaudit")):
                assert "._" not in line, f"{path.name}: {line}"
                assert " _" not in line.partition(" import ")[2], f"{path.name}: {line}"
