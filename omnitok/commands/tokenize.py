"""`omnitok tokenize`: files (or words) in, what their tokens are out; a file that fails is one line, and the others go on."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from ..compare import Verdict, round_trip
from ..errors import ConfigError, InputError, OmnitokError
from ..plugins import Host, load_plugins
from ..sequence import Span, TokenSequence
from ..tokenizer import Picture, Tokenizer
from .common import PluginFiles, Sets, console, one_line, parse_sets

SHOWN_IDS = 16


@dataclass(frozen=True)
class Result:
    """One source with its tokens."""

    source: str
    tokenizer: Tokenizer
    raw: Any
    tokens: TokenSequence
    verdict: Verdict


def tokenize(
    *sources: Annotated[str, Parameter(name="FILE", help="Files; with --as, also the words themselves.")],
    as_: Annotated[str | None, Parameter(name="--as", help="The plugin to use, whatever the file is called.")] = None,
    json: Annotated[bool, Parameter(help="Print one JSON object per file and line.")] = False,
    picture: Annotated[Path | None, Parameter(help="Draw the tokens over the source, to this file (.png, .svg, .pdf).")] = None,
    plugin: PluginFiles = (),
    set_: Sets = (),
) -> int:
    """Show the tokens of files: how many, in which channels, on which axes, and whether decoding gives the source back."""
    if not sources:
        raise ConfigError("name the files to tokenize, or give words with --as NAME")
    host, config = load_plugins(files=plugin), parse_sets(set_)
    if as_ is not None:
        host.tokenizer(as_, **config)  # an error in the configuration is no error of a file
    failed = 0
    results: list[Result] = []
    for source in sources:
        try:
            result = tokenize_one(host, source, as_, config)
            if picture is not None:
                draw(result, picture if len(sources) == 1 else picture.with_stem(f"{picture.stem}-{len(results) + 1}"))
        except (KeyboardInterrupt, ConfigError):
            raise
        except Exception as error:  # whatever a plugin or a library meets in a file belongs to that file alone
            failed += 1
            message = one_line(error)
            named = str(Path(source)) in message
            print(f"error: {message}" if named else f"error: {source}: {message}", file=sys.stderr, flush=True)
            continue
        if json:
            print(json_.dumps(describe(result)), flush=True)
        results.append(result)
    if results and not json:
        _print(results)
    return int(failed > 0 or any(not r.verdict.ok for r in results))


def tokenize_one(host: Host, source: str, as_: str | None, config: Mapping[str, Any]) -> Result:
    """Read, encode and decode one source. Raises InputError for what the tokenizer refuses."""
    if as_ is not None and not Path(source).exists():
        tokenizer = host.tokenizer(as_, **config)
        raw: Any = _words(host, tokenizer, source)
    else:
        tokenizer = host.for_file(source, as_=as_, **config)
        raw = tokenizer.read(Path(source))
    tokens = tokenizer.encode(raw)
    return Result(source, tokenizer, raw, tokens, round_trip(tokenizer, raw, tokens))


def _words(host: Host, tokenizer: Tokenizer, source: str) -> Any:
    """What the argument itself stands for. Raises InputError where a file was meant."""
    suffixes = next((r.suffixes for r in host.status() if r.name == tokenizer.name and r.status == "ok"), ())
    if source.lower().endswith(suffixes or ("\0",)):
        raise InputError(f"{source}: no such file")
    try:
        return tokenizer.words(source)
    except InputError as error:
        raise InputError(f"{source}: no such file, and {error}") from None


def draw(result: Result, path: Path) -> None:
    """The tokens over their source. Raises OmnitokError where the tokenizer shows nothing or the file cannot be written."""
    from .picture import draw_picture

    shown = result.tokenizer.show(result.raw, result.tokens)
    if not isinstance(shown, Picture):
        raise OmnitokError(f"{result.source}: tokenizer {result.tokenizer.name!r} draws no picture")
    draw_picture(shown, path)


def describe(result: Result) -> dict[str, Any]:
    """A result as plain values."""
    return {
        "source": result.source,
        "tokenizer": result.tokenizer.name,
        "count": len(result.tokens),
        "spans": [_span(span) for span in result.tokens.spans],
        "pairs": {name: len(labels) for name, (_, labels) in result.tokens.pairs.items()},
        "round_trip": {"verdict": result.verdict.kind, "detail": result.verdict.detail},
    }


def _span(span: Span) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "channel": span.channel,
        "count": len(span),
        "holds": "ids" if span.ids is not None else "features",
        "width": list(span.content.shape[1:]),
        "dtype": str(span.content.dtype).removeprefix("torch."),
        "axes": {name: _range(values) for name, values in span.axes.items()},
        "meta": dict(span.meta),
    }
    if span.ids is not None:
        facts["ids"] = span.ids.tolist()
    return facts


def _range(values: Any) -> dict[str, Any]:
    """What an axis spans: smallest and largest value, and the columns of a float axis."""
    facts: dict[str, Any] = {"columns": values.shape[1]} if values.dim() == 2 else {}
    return facts | ({"min": values.min().item(), "max": values.max().item()} if values.numel() else {})


def _print(results: Sequence[Result]) -> None:
    table = Table("source", "tokenizer", "tokens", "channel", "holds", "axes", "round trip")
    for result in results:
        facts = describe(result)
        first = (_short(result.source), result.tokenizer.name, str(len(result.tokens)))
        verdict = str(result.verdict)
        if facts["pairs"]:
            verdict += "".join(f"\n{count} pairs {name!r}" for name, count in facts["pairs"].items())
        for span in facts["spans"] or [None]:
            table.add_row(*first, *(_cells(span) if span else ("", "no tokens", "")), verdict)
            first, verdict = ("", "", ""), ""
    console().print(table)
    if len(results) == 1:
        for span in results[0].tokens.spans:
            if span.ids is not None and len(span):
                more = f" ... and {len(span) - SHOWN_IDS} more" if len(span) > SHOWN_IDS else ""
                console().print(f"{span.channel} ids: {span.ids[:SHOWN_IDS].tolist()}{more}")


def _cells(span: Mapping[str, Any]) -> tuple[str, str, str]:
    holds = [span["holds"], "x".join(map(str, span["width"])), span["dtype"]]
    axes = [f"{name} {_axis(facts)}" for name, facts in span["axes"].items()]
    return f"{span['channel']} ({span['count']})", " ".join(h for h in holds if h), ", ".join(axes)


def _axis(facts: Mapping[str, Any]) -> str:
    if "columns" in facts:
        return f"({facts['columns']} numbers)"
    return f"{facts['min']}..{facts['max']}" if "min" in facts else "(none)"


def _short(source: str, limit: int = 48) -> str:
    words = " ".join(source.split())
    return words if len(words) <= limit else f"...{words[3 - limit :]}"
