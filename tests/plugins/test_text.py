"""Text: what goes in comes out, fitted or not, and what cannot be kept is refused."""

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_text import bpe
from omnitok_text.tokenizer import TextTokenizer

from omnitok.errors import ConfigError, InputError
from omnitok.sequence import Span, TokenSequence

CORPUS = ["the cat sat on the mat", "a naïve café", "def f(x):\n    return x", "the theatre <end> </s>"] * 4
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text("ab \n\t<end>é🙂", max_size=60)


def fitted(**config):
    return TextTokenizer(vocab_size=300, **config).fit(CORPUS)


BOTH = [TextTokenizer(), fitted()]


def save(path, bpe_model, special=(), **parts):
    """A tokenizer.json made with the library."""
    from tokenizers import Tokenizer

    made = Tokenizer(bpe_model)
    for name, part in parts.items():
        setattr(made, name, part)
    made.add_special_tokens(list(special))
    made.save(str(path))
    return str(path)


@pytest.mark.parametrize("tokenizer", BOTH, ids=["bytes", "fitted"])
@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_every_text_comes_back(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert all(0 <= i < tokenizer.end for i in tokens.spans[0].ids.tolist()), "text never holds `end`"
    assert len(tokenizer.show(text, tokens).marks) == len(tokens)


@pytest.mark.parametrize("tokenizer", BOTH, ids=["bytes", "fitted"])
@settings(max_examples=50, deadline=None)
@given(text=TEXTS, cut=st.integers(0, 60))
def test_pieces_of_a_text_decode_and_join(tokenizer, text, cut):
    tokens = tokenizer.encode(text)
    left, right = tokens[:cut], tokens[cut:]
    assert tokenizer.decode(left + right) == text
    assert text.startswith(tokenizer.decode(left).rstrip("\ufffd"))
    two = TokenSequence((left.spans + right.spans) if left.spans else right.spans)
    assert tokenizer.decode(two) == text


@pytest.mark.parametrize("tokenizer", BOTH, ids=["bytes", "fitted"])
def test_end_is_dropped_and_closes_the_vocabulary(tokenizer):
    channel = tokenizer.channels()["text"]
    assert channel.end == tokenizer.end == channel.vocab - 1
    assert channel.attend == "causal"
    import torch

    assert tokenizer.decode(tokenizer.encode("cat") + TokenSequence((Span("text", torch.tensor([channel.end])),))) == "cat"


def test_bytes_until_fitted():
    tokens = TextTokenizer().encode("aé")
    assert tokens.spans[0].ids.tolist() == [0x61, 0xC3, 0xA9]
    assert TextTokenizer().channels()["text"].vocab == 257


def test_fit_is_deterministic_smaller_and_bounded():
    one, two = fitted(), fitted()
    assert one.state == two.state
    assert len(one.encode("the theatre")) < len(TextTokenizer().encode("the theatre"))
    assert one.channels()["text"].vocab <= 300
    assert pickle.loads(pickle.dumps(one)).encode("cat") == one.encode("cat")
    assert len(TextTokenizer().fit([]).encode("cat")) == 3


def test_place_agrees_with_encode():
    tokenizer = TextTokenizer().named("caption")
    (span,) = tokenizer.encode("cat").spans
    assert tokenizer.place(5, {}) == (span.channel, dict(span.axes)) == ("caption", {})


def test_long_texts_in_blocks_are_the_same_words():
    text = " ".join(CORPUS) * 2000
    assert len(text) > 2 * bpe.BLOCK
    pieces = bpe.load(fitted().state)
    assert pieces.encode(text) == pieces.bpe.encode(text, add_special_tokens=False).ids
    assert pieces.offsets(text)[-1] == (len(text) - 1, len(text)) or pieces.offsets(text)[-1][1] == len(text)
    solid = "x" * (bpe.BLOCK + 5)
    assert fitted().decode(fitted().encode(solid)) == solid


def test_what_is_no_text_is_refused():
    for tokenizer in BOTH:
        with pytest.raises(InputError, match=r"character 1 .*U\+D800"):
            tokenizer.encode("a\ud800")
        with pytest.raises(InputError, match="wants a string, got bytes"):
            tokenizer.encode(b"a")
    with pytest.raises(InputError, match=r"5 bytes, more than max_bytes = 4"):
        TextTokenizer(max_bytes=4).encode("ab€")
    with pytest.raises(InputError, match="lone surrogate"):
        TextTokenizer().fit(["fine", "\udfff"])


def test_decode_refuses_foreign_tokens():
    with pytest.raises(InputError, match="'other' is not 'text'"):
        TextTokenizer().decode(TextTokenizer().named("other").encode("a"))
    import torch

    with pytest.raises(InputError, match="id -1 of channel 'text'"):
        TextTokenizer().decode(TokenSequence((Span("text", torch.tensor([65, -1])),)))


def test_configuration_errors_name_the_field():
    with pytest.raises(ConfigError, match="vocab_size"):
        TextTokenizer(vocab_size=10)
    with pytest.raises(ConfigError, match="needs a `file`"):
        TextTokenizer(end_token="</s>")
    with pytest.raises(InputError, match=r"nowhere\.json"):
        TextTokenizer(file="nowhere.json")


def test_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\x00")
    assert TextTokenizer().read(path) == "one\r\ntwo\0"
    path.write_bytes(b"ab\xffcd")
    with pytest.raises(InputError, match=r"a\.txt: byte 2 \(0xff\) is not UTF-8"):
        TextTokenizer().read(path)
    with pytest.raises(InputError, match=r"a\.txt: 5 bytes, more than max_bytes = 4"):
        TextTokenizer(max_bytes=4).read(path)
    with pytest.raises(InputError, match=r"gone\.txt"):
        TextTokenizer().read(tmp_path / "gone.txt")
    with pytest.raises(InputError, match="directory"):
        TextTokenizer().read(tmp_path)


def test_sniff(tmp_path):
    tokenizer = TextTokenizer()
    assert tokenizer.sniff(tmp_path, "naïve".encode())
    assert tokenizer.sniff(tmp_path, ("x" * 4095 + "é").encode()[:4096]), "a character cut at the end of the head"
    assert not tokenizer.sniff(tmp_path, b"\x89PNG\r\n")
    assert not tokenizer.sniff(tmp_path, b"RIFF\0\0")


def test_show_gives_the_characters_behind_each_token():
    assert TextTokenizer().show("aé", TextTokenizer().encode("aé")).marks == [(0, 1), (1, 2), (1, 2)]
    tokenizer = fitted()
    picture = tokenizer.show("the cat", tokenizer.encode("the cat")[1:])
    assert "".join("the cat"[a:b] for a, b in picture.marks) == "the cat"[picture.marks[0][0] :]


def test_pretrained_folder(tmp_path):
    tokenizer = fitted()
    tokenizer.save_pretrained(tmp_path / "own")
    again = TextTokenizer.from_pretrained(tmp_path / "own")
    assert again.encode("the cat") == tokenizer.encode("the cat")
    assert again.end == tokenizer.end
    with pytest.raises(InputError, match="unfitted"):
        TextTokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"none.tokenizer\.json"):
        TextTokenizer.from_pretrained(tmp_path / "none")


def published(tmp_path):
    """A byte-level tokenizer.json with a special token, truncation and padding, as published ones have."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(fitted().state.decode())
    made.add_special_tokens(["<|endoftext|>"])
    made.enable_truncation(4)
    made.enable_padding(length=50)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_a_published_file_loads_and_its_special_token_is_text_in_text(tmp_path):
    path = published(tmp_path)
    tokenizer = TextTokenizer(file=str(path), end_token="<|endoftext|>")
    text = "the <|endoftext|> cat sat on the mat"
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text, "neither truncated nor padded nor ended"
    assert tokenizer.end not in tokens.spans[0].ids.tolist()
    assert tokenizer.channels()["text"].vocab == tokenizer.end + 1
    assert tokenizer.fit(["other"]) == tokenizer
    path.rename(tmp_path / "moved.json")
    assert tokenizer.named("caption").decode(tokenizer.named("caption").encode(text)) == text, "the state is all it needs"
    with pytest.raises(ConfigError, match=r"did you mean '<\|endoftext\|>'"):
        TextTokenizer(file=str(tmp_path / "moved.json"), end_token="<|endoftxt|>")


def test_end_token_of_a_published_folder(tmp_path):
    published(tmp_path)
    assert TextTokenizer.from_pretrained(tmp_path).channels()["text"].vocab == fitted().end + 2, "one more id where none is named"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|endoftext|>"}}))
    tokenizer = TextTokenizer.from_pretrained(tmp_path)
    assert tokenizer.end_token == "<|endoftext|>"
    tokenizer.save_pretrained(tmp_path / "copy")
    assert TextTokenizer.from_pretrained(tmp_path / "copy") == tokenizer


@pytest.mark.parametrize("tokenizer", [TextTokenizer(sentinels=3), fitted(sentinels=3)], ids=["bytes", "fitted"])
@settings(max_examples=50, deadline=None)
@given(text=TEXTS, cut=st.integers(0, 60))
def test_sentinels_stand_behind_the_vocabulary_and_are_dropped(tokenizer, text, cut):
    import torch

    channel, tokens = tokenizer.channels()["text"], tokenizer.encode(text)
    assert channel.sentinels == (channel.vocab - 3, channel.vocab - 2, channel.vocab - 1) and channel.end == channel.vocab - 4
    sentinels = TokenSequence((Span("text", torch.tensor(channel.sentinels)),))
    assert tokenizer.decode(tokens) == tokenizer.decode(tokens[:cut] + sentinels + tokens[cut:]) == text


def test_start_and_sentinels_of_a_published_folder(tmp_path):
    """T5's: sentinels by their names, first to last; the id that a decoder starts with stands in the model's own file."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(fitted().state.decode())
    made.add_special_tokens(["<pad>", "</s>", "<extra_id_10>", "<extra_id_2>", "<extra_id_0>"])
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "bos_token": "</s>"}))
    pad, *_ = ids = [made.token_to_id(t) for t in ("<pad>", "<extra_id_0>", "<extra_id_2>", "<extra_id_10>")]
    assert TextTokenizer.from_pretrained(tmp_path).start_token == "</s>", "what the library falls back to"
    (tmp_path / "config.json").write_text(json.dumps({"decoder_start_token_id": pad}))
    tokenizer = TextTokenizer.from_pretrained(tmp_path)
    channel = tokenizer.channels()["text"]
    assert tokenizer.start_token == "<pad>" and channel.start == pad and channel.sentinels == tuple(ids[1:])
    more = TextTokenizer(file=str(tmp_path / "tokenizer.json"), sentinels=1).channels()["text"]
    assert more.sentinels == (*ids[1:], more.vocab - 1)
    tokenizer.save_pretrained(tmp_path / "copy")
    assert TextTokenizer.from_pretrained(tmp_path / "copy") == tokenizer
    with pytest.raises(ConfigError, match="no special token '<pat>' to use as `start_token`; did you mean '<pad>'"):
        TextTokenizer(file=str(tmp_path / "tokenizer.json"), start_token="<pat>")


def test_a_vocabulary_that_drops_characters_is_refused(tmp_path):
    from tokenizers import models, pre_tokenizers

    empty = TextTokenizer(file=save(tmp_path / "empty.json", models.BPE()))
    with pytest.raises(InputError, match="cannot spell"):
        empty.encode("hello")
    assert len(empty.encode("")) == 0
    letters = TextTokenizer(file=save(tmp_path / "letters.json", models.BPE({"a": 0, "b": 1}, [])))
    assert len(letters.encode("abba")) == 4
    with pytest.raises(InputError, match=r"no piece for 'ж' \(character 2\)"):
        letters.encode("abжa")
    half = save(tmp_path / "half.json", models.BPE({"a": 0, "Ã": 1}, []), pre_tokenizer=pre_tokenizers.ByteLevel(False))
    with pytest.raises(InputError, match=r"no piece for 'é' \(character 1\)"):
        TextTokenizer(file=half).encode("aé")


def test_a_special_token_that_cannot_be_told_from_text_is_refused(tmp_path):
    from tokenizers import models

    path = save(tmp_path / "unigram.json", models.Unigram([("</s>", 0.0), ("a", -1.0), ("<unk>", -9.0)], 2), ["</s>"])
    tokenizer = TextTokenizer(file=path, end_token="</s>")
    assert len(tokenizer.encode("aaa")) == 3
    with pytest.raises(InputError, match="text holds '</s>'"):
        tokenizer.encode("a</s>")


def test_a_lossy_normaliser_gives_back_what_it_leaves(tmp_path):
    from tokenizers import models, normalizers

    path = save(tmp_path / "lower.json", models.BPE({"a": 0, "b": 1}, []), normalizer=normalizers.Lowercase())
    assert TextTokenizer(file=path).decode(TextTokenizer(file=path).encode("AbBa")).replace(" ", "") == "abba"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b'{"model": 3}', b"[" * 100_000, b'{"version": "1.0", "model": {"type": "X"}}']
)
def test_a_broken_tokenizer_file_is_one_line(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.json: not a tokenizer\.json") as caught:
        TextTokenizer(file=str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        TextTokenizer.from_pretrained(tmp_path)


def test_naughty_strings(data_folder):
    texts = json.loads((data_folder / "malformed" / "blns.json").read_text())
    assert len(texts) > 400
    for tokenizer in BOTH:
        assert [text for text in texts if tokenizer.decode(tokenizer.encode(text)) != text] == []
