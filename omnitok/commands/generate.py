"""`omnitok generate`: a prompt of files and words in, what the run's model adds to it out."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ..errors import ConfigError, InputError, OmnitokError, unknown_name
from .common import PluginFiles

if TYPE_CHECKING:
    from ..run import Run
    from ..sequence import TokenSequence
    from ..tokenizer import Tokenizer


def generate(
    run: Annotated[Path, Parameter(help="The folder that `omnitok train` wrote.")],
    /,
    *,
    prompt: Annotated[
        str | None, Parameter(help="Words to continue, or to read in front of what is written (encoder-decoder, or no words).")
    ] = None,
    file: Annotated[tuple[str, ...], Parameter(help="A file in front of the prompt, as PATH or TOKENIZER=PATH.")] = (),
    channel: Annotated[
        str | None, Parameter(help="The channel to continue; the only one that a task predicts by default.")
    ] = None,
    max_tokens: Annotated[int, Parameter(help="Most tokens to add.")] = 50,
    temperature: Annotated[float, Parameter(help="0 takes the best token, 1 draws as the model says.")] = 0.8,
    top_k: Annotated[int | None, Parameter(help="Draw from this many best tokens.")] = None,
    top_p: Annotated[float | None, Parameter(help="Draw from the best tokens that hold this share of the mass.")] = None,
    seed: Annotated[int, Parameter(help="Seeds the draws.")] = 0,
    beams: Annotated[
        int | None, Parameter(help="Draw nothing: search for the likeliest answers, with so many side by side (4 is usual).")
    ] = None,
    length_penalty: Annotated[
        float,
        Parameter(help="With --beams: scores are divided by length ** this; above 1 for longer answers, below for shorter."),
    ] = 1.0,
    device: Annotated[str, Parameter(help="auto, cpu or cuda.")] = "auto",
    json: Annotated[bool, Parameter(help="Print the ids and the decoded answer as JSON.")] = False,
    plugin: PluginFiles = (),
) -> int:
    """Continue a prompt with a run's model; an encoder-decoder reads the prompt and writes its answer from a start token on.

    Answers are drawn (`--temperature`, `--top-k`, `--top-p`), or searched for with `--beams 4`, which prints the likeliest
    one, and with `--json` all of them with their scores.
    """
    from ..beam import Rules
    from ..generate import Sampler
    from ..run import load_run
    from ..update import device_of

    loaded = load_run(run, plugin, str(device_of(device)))
    channel = channel or _only_channel(loaded)
    tokenizer = loaded.tokenizer(channel)
    words, begins = _words(loaded, channel, prompt)
    given, before = _files(loaded, file) + words, words if begins else words[:0]
    if beams is None:
        drawn = loaded.generate(given, channel, max_tokens, Sampler(temperature, top_k, top_p, seed))
        found: list[tuple[TokenSequence, float | None]] = [(drawn, None)]
    else:
        rules = Rules(beams, length_penalty)
        found = [(h.tokens, h.score) for h in loaded.beams(given, channel, max_tokens, rules)]
    answers = [_answer(tokenizer, before, made, score) for made, score in found]
    if json:
        more = {} if beams is None else {"beams": answers}
        print(json_.dumps({"channel": channel, **answers[0], **more}))
    else:
        print(answers[0]["answer"])
    return 0


def _answer(tokenizer: Tokenizer, before: TokenSequence, made: TokenSequence, score: float | None) -> dict[str, Any]:
    """What was generated, as JSON values; `before` is the part of the prompt that the object begins with."""
    answer = _decoded(tokenizer, before + made)
    ids = [i for span in made.spans if span.ids is not None for i in span.ids.tolist()]
    plain = {"tokens": len(made), "ids": ids, "answer": answer if isinstance(answer, str) else repr(answer)}
    return plain if score is None else {**plain, "score": score}


def _only_channel(run: Run) -> str:
    predicted = [name for name in run.tasks.heads if name in run.tasks.channels]
    if len(predicted) != 1:
        if not predicted:
            raise ConfigError(
                "no task of this run predicts a channel, so it generates nothing: train one with `next` or `seq2seq`"
            )
        raise ConfigError(f"--channel: choose one of {', '.join(predicted)}")
    return predicted[0]


def _files(run: Run, files: tuple[str, ...]) -> TokenSequence:
    """The files of the prompt as training would have put them: each closed by its channel's `end`."""
    from ..sequence import TokenSequence
    from ..tasks import closed

    tokens = TokenSequence()
    for text in files:
        instance, equals, path = text.partition("=")
        tokenizer = run.tokenizer(instance) if equals and not Path(text).exists() else _reader(run, Path(text))
        path = path if equals and not Path(text).exists() else text
        tokens = tokens + closed(tokenizer.encode(tokenizer.read(Path(path))), tokenizer)
    return tokens


def _reader(run: Run, path: Path) -> Tokenizer:
    plugin = run.host.for_file(path).name
    found = [t for t in run.tokenizers.values() if t.name == plugin]
    if not found:
        raise unknown_name(f"tokenizer of {path}:", plugin, (t.name for t in run.tokenizers.values()), "this run's tokenizers")
    if len(found) > 1:
        raise ConfigError(f"--file {path}: say which: {' or '.join(f'{t.instance}={path}' for t in found)}")
    return found[0]


def _words(run: Run, channel: str, prompt: str | None) -> tuple[TokenSequence, bool]:
    """The words of the prompt, and whether what is generated begins with them.

    They do where its tokenizer takes words and its own stream holds them; else they are one closed field in front of it.
    """
    from ..sequence import TokenSequence
    from ..tasks import closed

    if prompt is None:
        return TokenSequence(), False
    own = run.tokenizer(channel)
    readers = [*([own] if run.reads is None else ()), *_readers(run, channel)] or [own]
    refused = []
    for tokenizer in readers:
        try:
            tokens = tokenizer.encode(tokenizer.words(prompt))
        except InputError as error:
            refused.append(str(error))
            continue
        begins = run.reads is None and tokenizer == own
        return tokens if begins else closed(tokens, tokenizer), begins
    names = " or ".join(f"{t.instance}=PATH" for t in readers)
    raise ConfigError(f"--prompt: {'; '.join(refused)}; give a --file {names}")


def _readers(run: Run, channel: str) -> list[Tokenizer]:
    """The tokenizers of what the model reads before it writes a channel, nearest first, as the template of the task says."""
    for task in run.recipe.tasks:
        if channel in run.tasks.objectives[task.name].heads(task.name, run.tasks.channels):
            fields = [(stream, instance) for stream, instance, _ in task.fields()]
            if run.reads is None:
                read = [instance for _, instance in fields]
                read = read[: read.index(channel.partition("/")[0])]
            else:
                read = [i for stream, i in fields if stream != run.model.main or len(task.document) == 1]
            return [run.tokenizers[i] for i in reversed(dict.fromkeys(read))]
    return []


def _decoded(tokenizer: Tokenizer, tokens: TokenSequence) -> Any:
    """What the tokens stand for; the tokens themselves where they are no complete object."""
    try:
        return tokenizer.decode(tokens)
    except OmnitokError:
        return tokens
