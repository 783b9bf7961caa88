"""Schema: what `samples`, `channels` and `encode` give, apart from what it means."""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Iterator

import torch

from ..sequence import Span, TokenSequence
from ..tokenizer import Bounded, Channel, Exact, OneWay, Picture
from .base import Case, Skip, Subject, check, checks_of, told

GROUP = "schema"
KINDS = typing.get_args(typing.get_type_hints(Picture)["kind"])
"""of pictures that the inspector draws"""


@check(
    GROUP,
    "samples",
    "`samples` gives a few example objects that can be encoded: the checks, the docs and the inspector use them",
    "yield objects that `encode` takes, edge cases among them, at least one of two tokens or more",
    fitted=True,
)
def samples(subject: Subject) -> Iterator[str]:
    raws = list(subject.tokenizer.samples(0)) if subject.raws is None else list(subject.raws)
    if not raws:
        yield "`samples` gives no object"
    longest = 0
    for i, raw in enumerate(raws):
        try:
            tokens = subject.tokenizer.encode(raw)
        except Exception as error:
            yield f"sample {i} cannot be encoded: {told(error)}"
            continue
        if not isinstance(tokens, TokenSequence):
            yield f"encode gives a {type(tokens).__name__} instead of a TokenSequence"
            return
        longest = max(longest, len(tokens))
    if raws and longest < 2:
        yield f"the longest sample has {longest} tokens"


@check(
    GROUP,
    "declared",
    "`round_trip` and `unit` are promises of the class that the rest of omnitok relies on",
    "set `round_trip = Exact()`, `Bounded(largest error)` or `OneWay()`, and `unit` to the tokens of a step, 1 or more",
)
def declared(subject: Subject) -> Iterator[str]:
    rule, unit = subject.tokenizer.round_trip, subject.tokenizer.unit
    if not isinstance(rule, Exact | Bounded | OneWay):
        yield f"round_trip is {rule!r}"
    if isinstance(rule, Bounded) and not (math.isfinite(rule.error) and rule.error > 0):
        yield f"round_trip is bounded by {rule.error!r}: that is no bound"
    if not isinstance(unit, int) or unit < 1:
        yield f"unit is {unit!r}"


@check(
    GROUP,
    "channel-names",
    "Channels carry the instance's name, so that two of a kind live side by side in one recipe",
    'name channels with `self.channel()` or `self.channel("part")`, in `channels` and in `encode`',
    fitted=True,
)
def channel_names(subject: Subject) -> Iterator[str]:
    for instance in (subject.tokenizer, subject.tokenizer.named("another-name")):
        name = instance.channel()
        channels = instance.channels()
        if not channels:
            yield "`channels` names none"
        for channel in channels:
            if channel.split("/")[0] != name or "." in channel or channel.count("/") > 1:
                yield f"channel {channel!r} of an instance that is named {name!r}"
        for case in subject.cases:
            strange = set(instance.encode(case.raw).channels) - set(channels)
            if strange:
                yield f"{case.name} of an instance that is named {name!r}: encode makes tokens of {sorted(strange)[0]!r}"


@check(
    GROUP,
    "channel-content",
    "A channel holds ids below `vocab` or features of `width`, and never both",
    "declare `Channel(vocab=...)` or `Channel(width=(...))` with positive numbers",
    fitted=True,
)
def channel_content(subject: Subject) -> Iterator[str]:
    for name, channel in subject.tokenizer.channels().items():
        if (channel.vocab is None) == (channel.width is None):
            yield f"channel {name!r} declares {'neither vocab nor width' if channel.vocab is None else 'vocab and width'}"
        elif channel.vocab is not None and channel.vocab < 1:
            yield f"channel {name!r} has a vocab of {channel.vocab}"
        elif channel.width is not None and min(channel.width, default=1) < 1:
            yield f"channel {name!r} has a width of {channel.width}"


@check(
    GROUP,
    "channel-statistics",
    "Embedding and regression use (x - mean) / std, of each feature or of all",
    "give finite numbers, a `std` above 0, and one number or as many as the last dimension of `width`",
    fitted=True,
)
def channel_statistics(subject: Subject) -> Iterator[str]:
    for name, channel in subject.tokenizer.channels().items():
        for field in ("mean", "std"):
            value = getattr(channel, field)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(x) for x in numbers) or (field == "std" and min(numbers, default=1.0) <= 0):
                yield f"channel {name!r}: `{field}` is {str(value)[:60]}"
            if isinstance(value, tuple) and channel.width and len(value) != channel.width[-1]:
                yield f"channel {name!r}: `{field}` has {len(value)} numbers for features {list(channel.width)}"


@check(
    GROUP,
    "special-ids",
    "`start`, `end`, `mask` and `sentinels` are ids of the channel, each with one meaning",
    "give ids from 0 to vocab - 1, no two of them equal (`start` may be another's)",
    fitted=True,
)
def special_ids(subject: Subject) -> Iterator[str]:
    for name, channel in subject.tokenizer.channels().items():
        given = {"start": channel.start, "end": channel.end, "mask": channel.mask}
        given |= {f"sentinel {i}": x for i, x in enumerate(channel.sentinels)}
        for what, value in given.items():
            if value is not None and not 0 <= value < (channel.vocab or 0):
                yield f"channel {name!r}: `{what}` is {value}, outside its vocab of {channel.vocab}"
        rest = [x for what, x in given.items() if x is not None and what != "start"]
        if len(set(rest)) < len(rest):
            yield f"channel {name!r}: `end`, `mask` and `sentinels` share an id"


@check(
    GROUP,
    "channel-plain",
    "A channel can be written into a run and read back: a model is loaded without its tokenizers",
    "use steps whose fields are numbers, strings and tuples of them, and make the steps' types importable",
    fitted=True,
)
def channel_plain(subject: Subject) -> Iterator[str]:
    for name, channel in subject.tokenizer.channels().items():
        plain = json.loads(json.dumps(channel.to_plain()))
        if Channel.from_plain(plain, name) != channel:
            yield f"channel {name!r} comes back from JSON as another"


@check(
    GROUP,
    "ids-in-vocab",
    "Ids are whole numbers in [0, vocab), local to their channel; -1 is no content",
    "count `vocab` from what `encode` can give, and refuse what it cannot hold",
    fitted=True,
)
def ids_in_vocab(subject: Subject) -> Iterator[str]:
    channels = subject.tokenizer.channels()
    for case, span in _spans(subject):
        channel = channels.get(span.channel)
        if span.ids is None or channel is None:
            continue
        if channel.vocab is None:
            yield f"{case.name}: {span.channel!r} declares features and holds ids"
        elif len(span.ids) and not -1 <= int(span.ids.min()) <= int(span.ids.max()) < channel.vocab:
            held = f"{int(span.ids.min())}..{int(span.ids.max())}"
            yield f"{case.name}: {span.channel!r} holds ids {held} outside [0, {channel.vocab})"


@check(
    GROUP,
    "features-fit",
    "Features are [n, *width] finite numbers on the CPU, in one dtype",
    "shape them as `width` says, on the CPU and without a gradient, and refuse NaN and infinity",
    fitted=True,
)
def features_fit(subject: Subject) -> Iterator[str]:
    channels = subject.tokenizer.channels()
    dtypes: dict[str, torch.dtype] = {}
    for case, span in _spans(subject):
        channel, values = channels.get(span.channel), span.features
        if span.content.device.type != "cpu" or span.content.requires_grad:
            where = f"{span.content.device}{', with a gradient' if span.content.requires_grad else ''}"
            yield f"{case.name}: tokens of {span.channel!r} are on {where}"
        if values is None or channel is None:
            continue
        if channel.width is None or values.shape[1:] != torch.Size(channel.width):
            declares = "ids" if channel.width is None else f"features {list(channel.width)}"
            yield f"{case.name}: {span.channel!r} declares {declares} and holds features {list(values.shape[1:])}"
        if values.is_floating_point() and not bool(values.isfinite().all()):
            yield f"{case.name}: {span.channel!r} holds numbers that are not finite"
        if dtypes.setdefault(span.channel, values.dtype) != values.dtype:
            yield f"{case.name}: {span.channel!r} holds {values.dtype}, another sample {dtypes[span.channel]}"


@check(
    GROUP,
    "axes-declared",
    "An axis reaches the model where its channel declares it, as integers from 0 or as rows of floats",
    'list it in the channel\'s `axes`: Axis(name, rows) for int64 [n], Axis(name, columns, "linear") for float32 [n, columns]',
    fitted=True,
)
def axes_declared(subject: Subject) -> Iterator[str]:
    channels = subject.tokenizer.channels()
    for case, span in _spans(subject):
        if span.channel not in channels:
            continue
        known = {step.axis: step for step in channels[span.channel].axes}
        for name, values in span.axes.items():
            where = f"{case.name}: axis {name!r} of {span.channel!r}"
            if name not in known:
                yield f"{where} is declared by nobody"
            elif known[name].kind == "linear":
                if values.dtype != torch.float32 or values.dim() != 2 or values.shape[1] != known[name].size:
                    yield f"{where} is {values.dtype} {list(values.shape)}, declared as {known[name].size} columns of floats"
                elif not bool(values.isfinite().all()):
                    yield f"{where} holds numbers that are not finite"
            elif values.dtype != torch.int64 or values.dim() != 1:
                yield f"{where} is {values.dtype} {list(values.shape)}, declared as whole numbers [n]"
            elif len(values) and int(values.min()) < -1:
                yield f"{where} goes down to {int(values.min())}; -1 is where a token has none"


@check(
    GROUP,
    "pairs-declared",
    "Labelled pairs of tokens are declared with the number of their labels: a bias table has that many rows",
    "list every pair name in a channel's `pairs` with its number of labels",
    fitted=True,
)
def pairs_declared(subject: Subject) -> Iterator[str]:
    counts: dict[str, int] = {}
    for channel in subject.tokenizer.channels().values():
        for name, count in channel.pairs.items():
            counts[name] = max(count, counts.get(name, 0))
    for case in subject.cases:
        for name, (_, labels) in case.tokens.pairs.items():
            if name not in counts:
                yield f"{case.name}: pairs {name!r} are declared by no channel"
            elif len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < counts[name]:
                held = f"{int(labels.min())}..{int(labels.max())}"
                yield f"{case.name}: labels {held} of pairs {name!r}, declared are {counts[name]}"


@check(
    GROUP,
    "meta-is-json",
    "`meta` is JSON: a sequence is saved, and given back from what it carries itself",
    "use strings, numbers, lists and mappings with string keys; lists instead of tuples, and no arrays",
    fitted=True,
)
def meta_is_json(subject: Subject) -> Iterator[str]:
    for case, span in _spans(subject):
        try:
            plain = json.loads(json.dumps(dict(span.meta), allow_nan=False))
        except (TypeError, ValueError) as error:
            yield f"{case.name}: meta of {span.channel!r} is no JSON ({error})"
            continue
        if plain != dict(span.meta):
            yield f"{case.name}: meta of {span.channel!r} comes back from JSON as another"


@check(
    GROUP,
    "no-special-tokens",
    "`encode` gives no special tokens: the recipe's template appends `end`, and an objective puts `mask`",
    "leave `start`, `end`, `mask` and `sentinels` out of what `encode` gives",
    fitted=True,
)
def no_special_tokens(subject: Subject) -> Iterator[str]:
    special = {}
    for name, channel in subject.tokenizer.channels().items():
        ids = [x for x in (channel.start, channel.end, channel.mask, *channel.sentinels) if x is not None]
        special[name] = torch.tensor(ids, dtype=torch.long)
    if not any(map(len, special.values())):
        raise Skip("no channel has special ids")
    for case, span in _spans(subject):
        if span.ids is not None and span.channel in special:
            found = span.ids[torch.isin(span.ids, special[span.channel])]
            if len(found):
                yield f"{case.name}: {span.channel!r} holds the special id {int(found[0])}"


@check(
    GROUP,
    "picture-marks",
    "What the inspector draws marks every token once",
    "give `Picture(kind, data, marks)` with one mark for each token, in their order",
    fitted=True,
)
def picture_marks(subject: Subject) -> Iterator[str]:
    if not subject.overrides("show"):
        raise Skip("it draws nothing (`show`)")
    for case in subject.cases:
        picture = subject.tokenizer.show(case.raw, case.tokens)
        if picture is None:
            continue
        if not isinstance(picture, Picture) or picture.kind not in KINDS:
            yield f"{case.name}: show gives {type(picture).__name__} {getattr(picture, 'kind', '')!r}"
        elif len(picture.marks) != len(case.tokens):
            yield f"{case.name}: {len(picture.marks)} marks for {len(case.tokens)} tokens"


def _spans(subject: Subject) -> Iterator[tuple[Case, Span]]:
    return ((case, span) for case in subject.cases for span in case.tokens.spans)


CHECKS = checks_of(globals())
