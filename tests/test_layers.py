"""The architecture as a test: imports run one way, the core knows no modality, nothing runs code from data."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "omnitok"
SOURCES = sorted([*CORE.rglob("*.py"), *(ROOT / "plugins").rglob("*.py"), *(ROOT / "demos").rglob("*.py")])

LAYERS = [
    "errors files rng record layout sequence batch",
    "config nn tokenizer data hookspecs",
    "plugins",
    "model assemble objectives presets weights",
    "packing draws loader session generate beam",
    "checkpoint recipe toml metrics",
    "sources tasks update evaluate run start train",
    "hub",
    "compare checks testing",
    "cli commands doctor",
]
"""Rooms from low to high; within a line the graph must have no cycle."""

MODALITIES = re.compile(r"\b(text|image|audio|trajectory|graph)s?\b", re.IGNORECASE)
MODALITY_LIBRARIES = {"PIL", "torchaudio", "torchvision", "tokenizers", "transformers", "gymnasium", "networkx", "soundfile"}
KINDS_OF_PICTURE = {CORE / "tokenizer.py", CORE / "commands" / "picture.py"}
"""Where "text" and "image" are ways of drawing, which any plugin may use."""
OWN_PICKLES = {CORE / "checks" / "elsewhere.py", CORE / "checks" / "workers.py"}
"""Load what the same program has just dumped, to see that it survives."""
MOST_LINES = 450


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def room(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(p): p for p in CORE.rglob("*.py")}


def imports(path: Path, at_import: bool) -> Iterator[str]:
    """Modules that a file imports, with dots resolved; those for type checkers only are left out.

    `at_import`: only what is imported when the file is, and not inside a function.
    """
    package = module(path).split(".") if path.name == "__init__.py" else module(path).split(".")[:-1]

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")] if node.level else [node.module]
            name = ".".join(part for part in base if part)
            for alias in node.names:
                yield f"{name}.{alias.name}" if f"{name}.{alias.name}" in MODULES else name
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    yield from walk(parsed(path))


def level(name: str) -> int:
    found = [i for i, line in enumerate(LAYERS) if name in line.split()]
    assert found, f"{name} has no place in LAYERS"
    return found[0]


CORE_FILES = [p for p in sorted(CORE.rglob("*.py")) if p not in (CORE / "__init__.py", CORE / "__main__.py")]


@pytest.mark.parametrize("path", CORE_FILES, ids=module)
def test_imports_run_one_way(path: Path) -> None:
    for name in imports(path, at_import=False):
        if name in MODULES and name != "omnitok":
            assert level(room(MODULES[name])) <= level(room(path)), f"{module(path)} imports {name}, which stands above it"


def test_no_import_cycle() -> None:
    graph = {m: {n for n in imports(p, at_import=True) if n in MODULES and n not in (m, "omnitok")} for m, p in MODULES.items()}
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) >= set(MODULES)


def test_the_cycle_test_can_fail() -> None:
    with pytest.raises(ValueError, match="cycle"):
        list(TopologicalSorter({"a": {"b"}, "b": {"a"}}).static_order())


@pytest.mark.parametrize("path", CORE_FILES, ids=module)
def test_the_core_names_no_modality(path: Path) -> None:
    for line, code in code_lines(path):
        words = {w.lower() for w in MODALITIES.findall(code)}
        if path in KINDS_OF_PICTURE:
            words -= {"text", "image"}
        assert not words, f"{path.name}:{line} names {words}: {code}"


def code_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Strings and names of a file, without comments and docstrings; `text` is also what a program calls a string."""
    tree = parsed(path)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value
        for field in ("id", "attr", "arg", "name"):
            name = getattr(node, field, None)
            if isinstance(name, str) and name != "text":
                yield getattr(node, "lineno", 0), name


@pytest.mark.parametrize("path", CORE_FILES, ids=module)
def test_the_core_imports_no_library_of_a_modality(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path, at_import=False)}
    assert not tops & MODALITY_LIBRARIES
    assert not any(top.startswith("omnitok_") for top in tops)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_runs_code_from_data(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        where = f"{path.relative_to(ROOT)}:{node.lineno} calls {call}"
        assert call not in ("eval", "exec", "torch.load", "marshal.loads", "shelve.open", "joblib.load", "pd.read_pickle"), where
        assert path in OWN_PICKLES or call not in ("pickle.load", "pickle.loads", "pickle.Unpickler"), where
        if call in ("np.load", "numpy.load"):
            given = {k.arg: k.value for k in node.keywords}
            assert isinstance(given.get("allow_pickle"), ast.Constant), f"{where} without allow_pickle=False"
            assert given["allow_pickle"].value is False, where  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_open_with_what_they_own_and_stay_short(path: Path) -> None:
    assert ast.get_docstring(parsed(path)), f"{path} does not say what it owns"
    assert len(path.read_text().splitlines()) < MOST_LINES
