"""`omnitok generate`: a prompt of files and words in, what the run's model adds to it out."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ..errors import ConfigError, OmnitokError, unknown_name
from .common import PluginFiles

if TYPE_CHECKING:
    from ..run import Run
    from ..sequence import TokenSequence
    from ..tokenizer import Tokenizer


def generate(
    run: Annotated[Path, Parameter(help="The folder that `omnitok train` wrote.")],
    /,
    *,
    prompt: Annotated[str | None, Parameter(help="Words to continue, for a channel of a tokenizer that takes them.")] = None,
    file: Annotated[tuple[str, ...], Parameter(help="A file in front of the prompt, as PATH or TOKENIZER=PATH.")] = (),
    channel: Annotated[
        str | None, Parameter(help="The channel to continue; the only one that a task predicts by default.")
    ] = None,
    max_tokens: Annotated[int, Parameter(help="Most tokens to add.")] = 50,
    temperature: Annotated[float, Parameter(help="0 takes the best token, 1 draws as the model says.")] = 0.8,
    top_k: Annotated[int | None, Parameter(help="Draw from this many best tokens.")] = None,
    top_p: Annotated[float | None, Parameter(help="Draw from the best tokens that hold this share of the mass.")] = None,
    seed: Annotated[int, Parameter(help="Seeds the draws.")] = 0,
    device: Annotated[str, Parameter(help="auto, cpu or cuda.")] = "auto",
    json: Annotated[bool, Parameter(help="Print the ids and the decoded answer as JSON.")] = False,
    plugin: PluginFiles = (),
) -> int:
    """Continue a prompt with a run's model."""
    from ..generate import Sampler
    from ..run import load_run
    from ..update import device_of

    loaded = load_run(run, plugin, str(device_of(device)))
    channel = channel or _only_channel(loaded)
    tokenizer = loaded.tokenizer(channel)
    tokens = _files(loaded, file)
    own = _words(tokenizer, prompt)
    made = loaded.generate(tokens + own, channel, max_tokens, Sampler(temperature, top_k, top_p, seed))
    answer = _decoded(tokenizer, own + made)
    if json:
        ids = [i for span in made.spans if span.ids is not None for i in span.ids.tolist()]
        print(
            json_.dumps(
                {
                    "channel": channel,
                    "tokens": len(made),
                    "ids": ids,
                    "answer": answer if isinstance(answer, str) else repr(answer),
                }
            )
        )
    else:
        print(answer if isinstance(answer, str) else repr(answer))
    return 0


def _only_channel(run: Run) -> str:
    predicted = [name for name in run.tasks.heads if name in run.tasks.channels]
    if len(predicted) != 1:
        raise ConfigError(f"--channel: choose one of {', '.join(predicted) or 'none: no task of this run predicts a channel'}")
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


def _words(tokenizer: Tokenizer, prompt: str | None) -> TokenSequence:
    from ..sequence import TokenSequence

    if prompt is None:
        return TokenSequence()
    if not isinstance(next(iter(tokenizer.samples()), None), str):
        raise ConfigError(
            f"--prompt: tokenizer {tokenizer.instance!r} takes no words; give it a --file {tokenizer.instance}=PATH"
        )
    return tokenizer.encode(prompt)


def _decoded(tokenizer: Tokenizer, tokens: TokenSequence) -> Any:
    """What the tokens stand for; the tokens themselves where they are no complete object."""
    try:
        return tokenizer.decode(tokens)
    except OmnitokError:
        return tokens
