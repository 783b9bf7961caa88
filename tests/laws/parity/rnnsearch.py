"""Parity cases: Bahdanau, Cho and Bengio 2014 (arXiv 1409.0473), beside the equations of its appendix A, one by one."""

import torch
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Document
from omnitok.nn.bahdanau import Maxout, Search, SearchModule
from omnitok.nn.steps import FunctionModule
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import Case, asked, case, ids, published
from tests.laws.parity.wrong import residuals, streams

GAUSSIAN = 0.01
WORDS = (23, 31)
"""rows of the two vocabularies"""


def matrix(*shape: int, std: float = GAUSSIAN) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * std)


def square(n: int) -> nn.Parameter:
    return nn.Parameter(nn.init.orthogonal_(torch.empty(n, n)))


def zeros(n: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(n))


class Unit(nn.Module):
    """The weights of one gated unit over embeddings of m, with n units."""

    def __init__(self, m: int, n: int) -> None:
        super().__init__()
        self.W, self.W_z, self.W_r = (matrix(n, m) for _ in range(3))
        self.b, self.b_z, self.b_r = (zeros(n) for _ in range(3))
        self.U, self.U_z, self.U_r = (square(n) for _ in range(3))


class Encoder(nn.Module):
    """A.2.1."""

    def __init__(self, words: int, m: int, n: int) -> None:
        super().__init__()
        self.E = matrix(words, m)
        self.forward_rnn, self.backward_rnn = Unit(m, n), Unit(m, n)

    def states(self, p: Unit, embedded: list[Tensor]) -> list[Tensor]:
        h = torch.zeros_like(p.b)
        out = []
        for x in embedded:
            z = torch.sigmoid(p.W_z @ x + p.b_z + p.U_z @ h)
            r = torch.sigmoid(p.W_r @ x + p.b_r + p.U_r @ h)
            proposed = torch.tanh(p.W @ x + p.b + p.U @ (r * h))
            h = (1 - z) * h + z * proposed
            out.append(h)
        return out

    def forward(self, sentence: Tensor) -> tuple[list[Tensor], Tensor]:
        """Annotations, and the backward state at the first word."""
        embedded = [self.E[word] for word in sentence]
        right = self.states(self.forward_rnn, embedded)
        left = self.states(self.backward_rnn, embedded[::-1])[::-1]
        return [torch.cat(both) for both in zip(right, left, strict=True)], left[0]


class Decoder(Unit):
    """A.2.2."""

    def __init__(self, words: int, m: int, n: int, align: int, maxout: int) -> None:
        super().__init__(m, n)
        self.E = matrix(words, m)
        self.C, self.C_z, self.C_r = (matrix(n, 2 * n) for _ in range(3))
        self.W_s, self.b_s = matrix(n, n), zeros(n)
        self.W_a, self.U_a, self.v_a = matrix(align, n, std=0.001), matrix(align, 2 * n, std=0.001), zeros(align)
        self.U_o, self.V_o, self.C_o, self.b_t = (
            matrix(2 * maxout, n),
            matrix(2 * maxout, m),
            matrix(2 * maxout, 2 * n),
            zeros(2 * maxout),
        )
        self.W_o, self.b_o = matrix(words, maxout), zeros(words)

    def forward(self, sentence: Tensor, annotations: list[Tensor], first: Tensor) -> Tensor:
        s = torch.tanh(self.W_s @ first + self.b_s)
        answers = []
        for word in sentence:
            y = self.E[word]
            e = torch.stack([self.v_a @ torch.tanh(self.W_a @ s + self.U_a @ h) for h in annotations])
            alpha = e.exp() / e.exp().sum()
            c = sum((a * h for a, h in zip(alpha, annotations, strict=True)), torch.zeros_like(annotations[0]))
            deep = self.U_o @ s + self.V_o @ y + self.C_o @ c + self.b_t
            t = torch.stack([torch.maximum(deep[2 * j], deep[2 * j + 1]) for j in range(len(deep) // 2)])
            answers.append(self.W_o @ t + self.b_o)
            z = torch.sigmoid(self.W_z @ y + self.b_z + self.U_z @ s + self.C_z @ c)
            r = torch.sigmoid(self.W_r @ y + self.b_r + self.U_r @ s + self.C_r @ c)
            proposed = torch.tanh(self.W @ y + self.b + self.U @ (r * s) + self.C @ c)
            s = (1 - z) * s + z * proposed
        return torch.stack(answers)


class RNNsearch(nn.Module):
    def __init__(self, source: int, target: int, m: int, n: int, align: int, maxout: int) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(source, m, n), Decoder(target, m, n, align, maxout)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(target, *self.encoder(source))


class TorchUnit(SearchModule):
    """The reset gate behind the recurrent map, as in torch.nn.GRU."""

    def step(self, x, s, h, keys, valid):
        c, n = self.search(s, h, keys, valid), self.n
        x = x + self.context(c)
        z, r = (x[:, n:] + self.unit.gates(s)).sigmoid().chunk(2, -1)
        return c, (1 - z) * s + z * (x[:, :n] + r * self.unit.state(s)).tanh()


class LateSearch(SearchModule):
    """The alignment of the state behind the word, not of the one before it."""

    def step(self, x, s, h, keys, valid):
        _, behind = super().step(x, s, h, keys, valid)
        return self.search(behind, h, keys, valid), behind


class SearchWithTorchUnit(Search, frozen=True):
    def build(self, dim):
        return TorchUnit(self, dim)


class SearchTooLate(Search, frozen=True):
    def build(self, dim):
        return LateSearch(self, dim)


class MaxoutOfHalves(Maxout, frozen=True):
    def build(self, width, dim):
        return FunctionModule(lambda x: x.unflatten(-1, (2, -1)).amax(-2))


def instead(kind: type[Search]):
    """The preset with another kind of search."""

    def edit(r):
        return (
            r.replace(mixer=kind(**{f: getattr(r.mixer, f) for f in r.mixer.__struct_fields__}))
            if isinstance(r.mixer, Search)
            else r
        )

    return residuals(edit)


def halves(s):
    return s.replace(heads={n: tuple(MaxoutOfHalves() if isinstance(x, Maxout) else x for x in h) for n, h in s.heads.items()})


def sentences(raw: tuple[Tensor, Tensor]) -> Document:
    pair = {"encoder": Span("english", raw[0]), "decoder": Span("french", raw[1])}
    streams = {name: TokenSequence((span,)) for name, span in pair.items()}
    return Document(streams, {"next": asked("decoder:target", torch.arange(len(raw[1])), "decoder")})


def search_model(preset, words: tuple[int, int], lengths: tuple[tuple[int, int], ...], **more) -> Case:
    return Case(
        lambda: RNNsearch(*words, preset.dim, preset.hidden, preset.align, preset.maxout),
        preset,
        {"english": Channel(vocab=words[0]), "french": Channel(vocab=words[1])},
        [(ids(n, n, words[0]), ids(m, m, words[1])) for n, m in lengths],
        sentences,
        lambda reference, raw: {"next": reference(*raw)},
        roles={"source": "english", "target": "french"},
        steps=True,
        note="the paper's equations",
        **more,
    )


@case("bahdanau")
def bahdanau() -> Case:
    preset = presets.bahdanau(dim=12, hidden=20, align=18, maxout=16)
    wrong = {
        "the gated unit of torch": instead(SearchWithTorchUnit),
        "alignment of the state behind": instead(SearchTooLate),
        "maxout over halves": streams(halves),
    }
    return search_model(preset, WORDS, ((7, 5), (12, 8), (5, 9)), wrong=wrong)


@published("rnnsearch-50")
def rnnsearch() -> Case:
    return search_model(presets.bahdanau(), (30000, 30000), ((9, 7), (5, 8)))
