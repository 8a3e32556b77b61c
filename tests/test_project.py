"""The project as a whole: what is installed, what imports what, and how it is built."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "diarize"
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the ground up.  A module imports only from the layers below its own, ...
LAYERS = [
    {"allocation", "config", "folders", "types"},
    {"intervals", "powerset", "stage"},
    {
        "audio",
        "clustering",
        "decoding",
        "embedding",
        "levels",
        "models",
        "profiles",
        "turns",
        "vad",
        "windows",
        "local_voices",
        "segmentation",
    }
    | {"rttm", "labels", "subtitles", "formats", "metrics", "plot", "crosstalk"},
    {"channels", "drive", "embedded", "hub", "inputs", "live", "sources", "transcripts"},
    {"corrections", "edits", "enrolment", "linking", "revisions"},
    {"orders", "pipeline"},
    {"engines", "terminal"},
    {"client", "doctor", "jobs", "live_report", "microphone", "server", "summary", "training", "tuning"},
    {"evaluation"},
    {"commands"},
    {"cli"},
]
# ... and beside it only these, ...
BESIDE = {
    ("profiles", "clustering"),  # who is enrolled is compared as clusters are
    ("decoding", "audio"),  # what it decodes is checked and mixed there
    ("profiles", "embedding"),  # enrolments are judged by how well their windows agree
    ("profiles", "formats"),  # what is written is written whole
    ("profiles", "turns"),  # nobody is called as if nobody knew them
    ("models", "embedding"),  # crops are averaged as windows are
    ("models", "formats"),  # what is written is written whole
    ("vad", "levels"),  # it hears the levelled audio
    ("vad", "models"),  # and runs a network of its own
    ("segmentation", "local_voices"),  # what it finds and cuts out
    ("segmentation", "models"),  # and runs a network
    ("doctor", "microphone"),  # it tries whether there is one
    ("labels", "rttm"),  # what writes, scores and draws turns stands on the turn
    ("edits", "corrections"),  # what was changed by hand becomes corrections
    ("subtitles", "labels"),
    ("subtitles", "rttm"),
    ("formats", "labels"),
    ("formats", "rttm"),
    ("formats", "subtitles"),
    ("metrics", "rttm"),
    ("metrics", "formats"),
    ("plot", "rttm"),
    ("plot", "formats"),
    ("plot", "metrics"),
}
# ... and upwards only this: the encoder is a front door of its own, which reads files
UPWARDS = {("models.encoder", "sources")}
TORCH = {"torch", "torchaudio", "silero_vad"}
MAY_LOAD_TORCH = {"models", "training", "evaluation"}


def name(module: Path) -> str:
    """`models.encoder` for diarize/models/encoder.py; the empty string for diarize/__init__.py."""
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(module: Path) -> Iterator[str]:
    """Every module that a file names in an import, inside functions too; relative imports are refused by the test."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.ImportFrom) and node.module == "diarize":
            yield from (
                f"diarize.{alias.name}"
                for alias in node.names
                if (PACKAGE / alias.name).exists() or (PACKAGE / f"{alias.name}.py").exists()
            )
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def layer(part: str) -> int:
    """The height of a part of the package."""
    heights = [height for height, parts in enumerate(LAYERS) if part in parts]
    assert heights, f"diarize/{part} has no place in LAYERS: give it one"
    return heights[0]


def forbidden(importer: str, imported: str) -> bool:
    """Whether one module of the package must not import another."""
    of, to = importer.split(".")[0], imported.split(".")[0]
    return of != to and layer(to) >= layer(of) and (of, to) not in BESIDE and (importer, to) not in UPWARDS


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_imports_go_downwards(module: Path) -> None:
    importer, found = name(module), set(imports(module))
    assert not [imported for imported in found if imported.startswith(".")], "absolute imports only"
    if importer:  # the package's own __init__ names its public parts
        ours = {imported.removeprefix("diarize.") for imported in found if imported.startswith("diarize.")}
        wrong = sorted(f"{importer} -> {imported}" for imported in ours if forbidden(importer, imported))
        assert not wrong, "imports that do not go downwards"
    if importer.split(".")[0] not in MAY_LOAD_TORCH:
        assert not {imported.split(".")[0] for imported in found} & TORCH, f"{importer} must not import torch"


def test_the_direction_can_be_broken() -> None:
    assert forbidden("vad", "windows")
    assert forbidden("rttm", "pipeline")
    assert forbidden("stage", "turns")
    assert forbidden("models.features", "sources")
    assert not forbidden("pipeline", "vad")
    assert not forbidden("clustering.online", "clustering.agglomerative")


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_one_concept_a_file(module: Path) -> None:
    lines = len(module.read_text(encoding="utf-8").splitlines())
    assert lines <= 300, "a file this long holds more than one concept"


@pytest.mark.parametrize("folder", ["diarize", "tests", "examples"])
def test_what_is_silenced_has_a_reason(folder: str) -> None:
    silenced = re.compile(r"#\s*(type:\s*ignore|noqa|pragma:\s*no)")
    reasoned = re.compile(r"#\s*(?:type:\s*ignore\[[\w, -]+\]|noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)\s*(?:#|-)\s*\S.{5,}")
    bare = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        if file != Path(__file__)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if silenced.search(line) and not reasoned.search(line)
    ]
    assert not bare, "name the rule and the reason: `# noqa: S603 - our own words`"


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ["torch", "sounddevice", "matplotlib", "sklearn", "scipy", "av", "pyannote", "typer"]
    program = f"import sys, diarize; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_wheel_has_weights_and_recipes_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = {Path(member) for member in zipfile.ZipFile(wheel).namelist()}
    recipes = {Path("diarize") / recipe.relative_to(ROOT) for recipe in (ROOT / "pipelines").glob("*.toml")}
    weights = {file.relative_to(ROOT) for file in PACKAGE.glob("*/*.safetensors")}
    page = {file.relative_to(ROOT) for file in PACKAGE.glob("*/page/*")}
    schema = {file.relative_to(ROOT) for file in PACKAGE.glob("server/*.json")}
    assert weights
    assert recipes
    assert page
    assert schema
    assert recipes | weights | page | schema | {module.relative_to(ROOT) for module in MODULES} <= inside
    assert {path.parts[0].split("-")[0] for path in inside} == {"diarize", "diarize_live"}
    assert any(path.name == "LICENSE" for path in inside)


def required(requirement: Requirement) -> Iterator[tuple[str, Requirement]]:
    """What a requirement needs on this machine, itself first, through all its extras."""
    yield canonicalize_name(requirement.name), requirement
    try:
        below = requires(requirement.name) or []
    except PackageNotFoundError:  # an extra that is not installed here
        below = []
    for text in below:
        needed = Requirement(text)
        if any(not needed.marker or needed.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)):
            yield canonicalize_name(needed.name), needed


def test_every_version_is_in_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned: dict[str, str] = {canonicalize_name(package): pin for package, pin in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [text for extra in project["optional-dependencies"].values() for text in extra]
    waiting = [Requirement(text) for text in project["dependencies"] + extras]
    seen: dict[str, Requirement] = {}
    while waiting:
        for package, requirement in required(waiting.pop()):
            # torch's CUDA build requires each of its own parts at one version
            if (
                package not in seen
                and package != "diarize-live"
                and not package.startswith(("nvidia-", "cuda-", "triton"))
            ):
                seen[package] = requirement
                waiting.append(requirement)
    assert not sorted(set(seen) - set(pinned)), "packages without a tested version in constraints.txt"
    assert all("+" not in pin for pin in pinned.values()), "the CPU and the CUDA build go by one number"
    outside = [
        str(needed)
        for package, needed in seen.items()
        if not needed.specifier.contains(pinned[package], prereleases=True)
    ]
    assert not outside, "versions in constraints.txt that pyproject.toml or a dependency refuses"


def make(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder, as if no other make had started these tests."""
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *args], cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ["demo", "test", "bench"])
def test_make_refuses_an_unsupported_python(tmp_path: Path, target: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    old = tmp_path / "python3.9"
    old.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 1); exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    for file in ("pyproject.toml", "constraints.txt"):
        (tmp_path / file).touch()
    done = make(tmp_path, target, f"PYTHON={old}")
    assert done.returncode == 2
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert said == [
        f"diarize needs Python 3.11 or later, and {old} is 3.9: say which to use, as in make PYTHON=python3.12"
    ]
    assert not (tmp_path / ".venv").exists()


def test_make_installs_once(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for age, file in [
        (30, "pyproject.toml"),
        (30, "constraints.txt"),
        (20, ".venv/pyvenv.cfg"),
        (10, ".venv/demo.stamp"),
        (5, ".venv/dev.stamp"),
    ]:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
        os.utime(tmp_path / file, (1e9 - age, 1e9 - age))

    def plan(target: str) -> str:
        """What make would do."""
        done = make(tmp_path, "-n", target)
        assert done.returncode == 0
        return done.stdout

    assert "pip install" not in plan("demo")
    assert "pip install" not in plan("test")
    assert "pip install" in plan("bench")
    (tmp_path / "constraints.txt").touch()
    assert "pip install" in plan("demo")
    assert "-m venv" not in plan("demo")


SKIPPING = """
import pytest
def test_absent_program(): pytest.skip("a program is absent")
def test_absent_speech(): pytest.skip("no real speech at shared")
@pytest.mark.skipif(True, reason="never here")
def test_never(): pass
@pytest.mark.xfail(reason="known")
def test_known(): assert False
"""


@pytest.mark.parametrize("strict", [True, False])
def test_a_skip_fails_where_skips_are_strict(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    monkeypatch.setenv("DIARIZE_STRICT_SKIPS", str(int(strict)))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makepyfile(test_tests=SKIPPING, test_file='import pytest; pytest.importorskip("no_such_module")')
    done = pytester.runpytest_subprocess("--continue-on-collection-errors")
    if strict:
        done.assert_outcomes(failed=1, errors=2, skipped=1, xfailed=1)
        done.stdout.fnmatch_lines("*skipped, which is a failure here: a program is absent")
    else:
        done.assert_outcomes(skipped=4, xfailed=1)


def test_versions_agree() -> None:
    assert version("diarize-live") == __import__("diarize").__version__
