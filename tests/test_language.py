"""What deepscope says: typed errors, settings instead of flags below the command line, and plain English."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

import deepscope

ROOT = Path(deepscope.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

CHECKOUT = Path(__file__).parent.parent
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]

DIALECT = (
    r"shall",
    r"so (many|much|few) \w+",
    r"do(es)? without",
    r"nothing takes",
    r"mend(s|ed|ing)?",
    r"of two minds",
    r"a way back",
    r"goes on( to| at| where| from)?",
    r"(is|are|was|were) (not )?here",
    r"(sees?|saw) something else",
    r"judg(e|es|ed|ing)",
    r"rivals?",
    r"gent(le|ly)",
    r"would-be",
    r"at hand",
    r"all the same",
    r"what (it|they|(its|their) \w+) (is|are) worth",
    r"comes? to nothing",
    r"costs? (an|one) (image|step|pass)",
    r"(images?|lines?|steps?|passes|pixels|bytes) an? (forward|image|pass|second|step|batch|class|side|file|cell|row)",
    r"one (line|entry|row|file|text|caption|method|sub-command|generator) an? \w+",
    r"the source report",
    r"(chapter|question|studies|claims?|experiments?) of the source",
    r"takes? no part in the (images?|making)",
    r"had no part in",
    r"puts? out",
    r"a person's own",
    r"(?<!there )is no (number|image|file|tensor|matrix|table|description|archive)",
)
"""Phrases of the first version's private dialect, as regular expressions; plain English has another word for each."""

QUOTED = (
    "Intriguing properties of neural networks",
    "judge-fid",
    "judge.json",
    "judge.safetensors",
)
"""Titles of publications, and names of metrics and files, in which a phrase of the dialect may occur."""

_FLAG = re.compile(r"(?<![\w-])--[a-z]")
_COMMAND_LINE = re.compile(r"`deepscope [^`]*`")
_WRITES_FLAGS = {
    "render/terminal.py": "what it prints is read by those who use the command line",
    "report/command.py": "writes the command line that repeats a section",
}


def _tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def _name(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


def _found(of: Callable[[Path], object], modules: Iterable[Path] = MODULES) -> dict[str, object]:
    """What is wrong in each module where something is: a test per module would take longer than its own work."""
    return {_name(module): wrong for module in modules if (wrong := of(module))}


def test_an_error_says_by_its_type_what_it_concerns() -> None:
    def plain(module: Path) -> list[int]:
        calls = (node for node in ast.walk(_tree(module)) if isinstance(node, ast.Call))
        return [node.lineno for node in calls if ast.unparse(node.func).endswith("DeepscopeError")]

    assert _found(plain) == {}, "raise a subclass of DeepscopeError in these lines"


def test_no_message_below_the_command_line_writes_a_flag() -> None:
    """A message names the setting, `{setting}` in a SettingError; only a command's may quote a whole command line."""

    def flags(module: Path) -> list[str]:
        quoted = _COMMAND_LINE if _is_command(module) else re.compile("(?!)")
        return [text for text in _texts(_tree(module)) if _FLAG.search(quoted.sub("", text))]

    below = (path for path in MODULES if not _name(path).startswith("cli/") and _name(path) not in _WRITES_FLAGS)
    assert _found(flags, below) == {}


def test_no_docstring_below_the_commands_writes_a_flag() -> None:
    """A study's docstring is its help on the command line, and its documentation in Python."""

    def flags(module: Path) -> list[str]:
        if _name(module).startswith("cli/") or _is_command(module) or _name(module) in _WRITES_FLAGS:
            return []
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        nodes = (node for node in ast.walk(_tree(module)) if isinstance(node, documented))
        return [text for node in nodes if _FLAG.search(text := ast.get_docstring(node) or "")]

    assert _found(flags) == {}


def _is_command(module: Path) -> bool:
    return _name(module).startswith("commands/") or _name(module) == "report/report.py"


_OPENS = re.compile(r"^(open|images\.(decode|parts)|Image\.open)$|\.(open|read_bytes|read_text)$")


@pytest.mark.parametrize("module", sorted((ROOT / "presenters").glob("*.py")), ids=_name)
def test_presenters_open_no_files(module: Path) -> None:
    """What they show is in the data of the workflow, whatever became of the files since."""
    calls = (ast.unparse(node.func) for node in ast.walk(_tree(module)) if isinstance(node, ast.Call))
    opened = [call for call in calls if _OPENS.search(call)]
    assert not opened, f"{_name(module)} calls {opened}"


def _texts(tree: ast.AST) -> Iterator[str]:
    """The texts of a module's code, docstrings and examples left out; `{}` for the values in an f-string."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and _assigns_example(node):
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        else:
            yield from _texts(node)


def _assigns_example(node: ast.Assign | ast.AnnAssign) -> bool:
    """Whether it sets a command's or method's `example` or `example_flags`, which are command lines."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(ast.unparse(target).split(".")[-1] in {"example", "example_flags"} for target in targets)


def test_code_speaks_plain_english() -> None:
    """Messages, titles, docstrings and comments; single words are names, of old flags and of files, say."""

    def phrases(module: Path) -> list[str]:
        tokens = tokenize.generate_tokens(io.StringIO(module.read_text(encoding="utf-8")).readline)
        texts = [token for token in tokens if token.type in _TEXTS and " " in token.string]
        return [f"line {token.start[0]}: {phrase}" for token in texts for phrase in _dialect(token.string)]

    assert _found(phrases) == {}, "see DIALECT"


_TEXTS = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


_MEASURED = re.compile(r"<!-- measured:.*?<!-- end of measured -->", re.DOTALL)
"""What `tools/keep_study.py` copies from results, which keep the words of the version that made them."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_pages_speak_plain_english(page: Path) -> None:
    found = _dialect(_MEASURED.sub("", page.read_text(encoding="utf-8")))
    assert not found, f"{page.relative_to(CHECKOUT)} says {', '.join(map(repr, found))}: see DIALECT"


@pytest.mark.parametrize(
    "text", ["the tool shall run", "one line a file", "weights that are\nnot here", "It is no number."]
)
def test_the_dialect_is_recognised(text: str) -> None:
    assert _dialect(text)


def test_plain_english_is_not_taken_for_dialect() -> None:
    assert not _dialect(
        "One line per file; weights that are missing. It is not a number. The judge-fid of a marshalled box."
    )


def _dialect(text: str) -> list[str]:
    """The phrases of the dialect in a text, across line breaks and whatever the case."""
    for title in QUOTED:
        text = text.replace(title, "")
    return [match.group() for match in _PHRASES.finditer(" ".join(text.split()))]


_PHRASES = re.compile(rf"(?<![\w-])({'|'.join(DIALECT)})(?![\w-])", re.IGNORECASE)
