"""Records: equality, copies, pickles and files."""

import copy
import io
import json
import math
import pickle
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnitok.batch import Ask, Document, PackedBatch, collate
from omnitok.errors import InputError
from omnitok.record import same
from omnitok.sequence import Span, TokenSequence
from tests.strategies import SCHEMA, batches, quick, sequences


def asked(document: Document) -> Document:
    """The document with an ask for its first token, if it has one."""
    if not len(document.main):
        return document
    ask = Ask("head", torch.tensor([0]), torch.tensor([3]), torch.tensor([1.0]))
    return document.replace(asks={"task": ask})


@quick
@given(batches(), st.sampled_from((pickle.HIGHEST_PROTOCOL, 2)))
def test_pickles_come_back_equal(documents, protocol):
    for record in (*documents, collate([asked(d) for d in documents], SCHEMA)):
        again = pickle.loads(pickle.dumps(record, protocol))
        assert again == record and again is not record
        assert copy.deepcopy(record) == record


@quick
@given(batches())
def test_files_come_back_equal(tmp_path_factory, documents):
    path = tmp_path_factory.mktemp("record") / "record.safetensors"
    for record in (*documents, collate([asked(d) for d in documents], SCHEMA)):
        record.save(path)
        assert type(record).load(path) == record


@quick
@given(sequences())
def test_moving_keeps_every_tensor_and_what_is_no_tensor(s):
    assert s.to("cpu") == s
    assert s.map(torch.clone) == s
    assert s.map(torch.clone).channels == s.channels


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float16, torch.bfloat16, torch.float64, torch.bool])
def test_dtypes_survive_pickle_and_file(dtype, tmp_path):
    span = Span("x", features=torch.tensor([[0, 1], [1, 0]]).to(dtype))
    assert pickle.loads(pickle.dumps(span)) == span
    span.save(tmp_path / "span")
    assert Span.load(tmp_path / "span") == span


def test_a_pickled_slice_does_not_carry_its_whole():
    span = Span("x", features=torch.zeros(100_000, 4)).take(0, 2)
    assert len(pickle.dumps(span)) < 2_000


def test_views_and_tensors_that_share_memory_are_saved(tmp_path):
    x = torch.arange(12).view(3, 4)
    s = TokenSequence((Span("a", ids=x.T[:, 1]), Span("b", ids=x[1])))
    s.save(tmp_path / "s")
    assert TokenSequence.load(tmp_path / "s") == s


def test_meta_keeps_nested_values(tmp_path):
    meta = {"size": [3, 4], "rate": 16000, "space": {"low": [-math.inf, 0.5], "name": "é\n"}, "none": None, "yes": True}
    s = TokenSequence((Span("x", ids=torch.tensor([1]), meta=meta),))
    s.save(tmp_path / "s")
    assert TokenSequence.load(tmp_path / "s").spans[0].meta == meta == pickle.loads(pickle.dumps(s)).spans[0].meta


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (torch.tensor([1]), torch.tensor([1]), True),
        (torch.tensor([1]), torch.tensor([1], dtype=torch.int32), False),
        (torch.tensor([1]), torch.tensor([[1]]), False),
        (torch.tensor([1]), [1], False),
        (1, 1.0, False),
        (True, 1, False),
        (math.nan, math.nan, True),
        ((1, 2), [1, 2], True),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"b": 1}, False),
        ((1,), (1, 2), False),
        (None, None, True),
    ],
)
def test_sameness(a, b, equal):
    assert same(a, b) is equal
    assert same(b, a) is equal


def test_records_cannot_be_hashed_or_changed():
    span = Span("x", ids=torch.tensor([1]))
    with pytest.raises(TypeError):
        hash(span)
    with pytest.raises(AttributeError):
        span.channel = "y"


def header(plain: object) -> bytes:
    text = json.dumps({"__metadata__": {"omnitok": plain if isinstance(plain, str) else json.dumps(plain)}}).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a file of tensors",
        struct.pack("<Q", 2) + b"{}",
        header("not json"),
        header({"tensor": "0"}),
        header({"record": "Nothing", "values": []}),
        header({"record": "Span", "values": [1]}),
        header({"record": "Span", "values": []}),
        header({"a": 1, "b": 2}),
        header([1, 2]),
        header(7),
    ],
)
def test_a_damaged_file_is_one_error_that_names_it(content, tmp_path):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.safetensors"):
        Span.load(path)


def test_every_truncation_of_a_file_is_refused_by_name(tmp_path):
    s = TokenSequence((Span("x", ids=torch.arange(5), axes={"step": torch.arange(5)}),))
    s.save(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    path = tmp_path / "part"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="part"):
            TokenSequence.load(path)


def test_a_file_of_another_record_is_refused(tmp_path):
    Span("x", ids=torch.tensor([1])).save(tmp_path / "span")
    with pytest.raises(InputError, match="holds a Span, not a TokenSequence"):
        TokenSequence.load(tmp_path / "span")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        Span.load(tmp_path / "nowhere")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pinned_and_moved_batches_come_back_equal():
    s = TokenSequence(
        (Span("letter", ids=torch.arange(3)), Span("move/seen", features=torch.rand(2, 2, 2), index=torch.tensor([3, 4])))
    )
    batch = collate([s], SCHEMA)
    assert batch.pin_memory() == batch
    assert batch.pin_memory().streams["main"].layout.order.is_pinned()
    assert batch.to("cuda").to("cpu") == batch
    assert s.to("cuda")[1:4].to("cpu") == s[1:4]
    assert pickle.loads(pickle.dumps(batch.to("cuda"))).to("cpu") == batch


def test_a_batch_prints_in_one_short_line():
    batch = collate([TokenSequence((Span("letter", ids=torch.arange(3)),))] * 50, SCHEMA)
    assert repr(batch) == "PackedBatch(50 documents: main 150 tokens of letter 150; asks none)"
    assert isinstance(batch, PackedBatch) and len(batch) == 150
    out = io.StringIO()
    print(batch.streams["main"].layout, file=out)
    assert out.getvalue() == "Layout(150 tokens in 50 segments: 50x3 causal)\n"
