"""An encoder-decoder from recipe to answer: trained on a task with two streams, decoded by search, from Python and the shell."""

import json
from pathlib import Path

import pytest

from omnitok.batch import Document
from omnitok.beam import Rules, beam_search
from omnitok.cli import run
from omnitok.errors import SequenceError
from omnitok.generate import Session
from omnitok.plugins import load_plugins
from omnitok.recipe import load_recipe
from omnitok.run import load_run
from omnitok.train import train

TOYS = Path(__file__).with_name("toys.py")
RECIPE = """
[[tasks]]
name = "mirror"
data = { name = "words/mirror" }
document = { encoder = [{ words = "list" }], decoder = [{ words = "mirrored" }] }
objective = { seq2seq = { on = "words", smoothing = 0.1 } }

[model]
preset = "transformer"
dim = 48
depth = 1
heads = 4
norm_first = true
dropout = 0.0

[train]
steps = 150
seed = 1
warmup = 40
budget = 500
lr = 0.008
eval_samples = 100
checkpoint_every = 0
evaluate_every = 0
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirror")
    host = load_plugins(only=[], files=[TOYS])
    report = train(load_recipe(recipe), folder, host, quiet=True)
    return folder, load_run(folder, [TOYS]), report


def test_it_learns_to_read_and_to_write(trained):
    """Held-out lists come out mirrored, by search, all in one batch."""
    _, loaded, _ = trained
    samples = load_plugins(only=[], files=[TOYS]).dataset("words/mirror").split("eval")
    words = loaded.tokenizers["words"]
    documents = [loaded.tasks.compose(loaded.recipe.task("mirror"), s) for s in samples]
    session = Session(loaded.model, len(samples), attend={"words": "causal"})
    session.read({"encoder": [d.streams["encoder"] for d in documents]}).start("words", words.channels()["words"])
    found = beam_search(session, words, "words", 10, Rules(4))
    right = sum(words.decode(h[0].tokens) == s["mirrored"] and h[0].ended for h, s in zip(found, samples, strict=True))

    assert right > 90


def test_evaluation_scores_whole_answers(trained):
    _, _, report = trained
    scores = report.report["mirror"]
    assert scores["exact"] > 0.9 > scores["chance"]["exact"] and scores["accuracy"] > scores["chance"]["accuracy"]


def test_python_and_shell_give_the_same_answer(trained, tmp_path, capsys):
    """A prompt goes to the stream that is read, closed as in training; the answer holds nothing of it."""
    folder, loaded, _ = trained
    words = loaded.tokenizers["words"]
    prompt = loaded.tasks.encode("words", "list", {"list": [3, 1, 4, 1]})
    assert words.decode(loaded.generate(prompt, "words", 10)) == [1, 4, 1, 3]
    best, *others = loaded.beams(prompt, "words", 10, Rules(3, 0.6))
    assert words.decode(best.tokens) == [1, 4, 1, 3] and len(others) == 2 and best.score > others[0].score
    document = Document({"encoder": prompt, "decoder": loaded.document("mirror", {"list": [3], "mirrored": [1, 4]}).main[:3]})
    assert words.decode(loaded.generate(document, "words", 10)) == [1, 3], "behind the beginning that it was given"

    (tmp_path / "prompt").write_text("3 1 4 1")
    command = ["generate", str(folder), "--plugin", str(TOYS), "--file", f"words={tmp_path / 'prompt'}", "--max-tokens", "10"]
    assert run([*command, "--temperature", "0"]) == 0
    assert capsys.readouterr().out.strip() == "[1, 4, 1, 3]"
    assert run([*command, "--beams", "3", "--length-penalty", "0.6", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["answer"] == "[1, 4, 1, 3]" and printed["score"] == pytest.approx(best.score, rel=1e-4)
    assert [b["ids"] for b in printed["beams"]] == [h.tokens.spans[0].ids.tolist() for h in (best, *others)]


def test_an_empty_prompt_is_refused(trained):
    with pytest.raises(SequenceError, match="an empty prompt"):
        trained[1].generate(trained[1].tokenizers["words"].encode([])[:0], "words", 3)


CORRUPT = """
[[tasks]]
name = "repair"
data = { name = "text/topics" }
document = [{ text = "body" }]
objective = { corrupt = { on = "text" } }
context = 100
truncate = true

[tokenizers.text]
vocab_size = 300
sentinels = %d

[model]
preset = "t5"
dim = 16
depth = 1
heads = 2
hidden = 32

[train]
steps = 2
budget = 200
eval_samples = 4
fit_samples = 20
"""


def test_span_corruption_from_the_shell(tmp_path, capsys):
    """Two steps of training, and an answer; words of the prompt go to the stream that is read."""
    (tmp_path / "recipe.toml").write_text(CORRUPT % 32)
    assert run(["train", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run"), "--set", "train.steps=2"]) == 0
    printed = capsys.readouterr().out
    assert "exact" in printed and "nats" in printed
    command = ["generate", str(tmp_path / "run"), "--prompt", "The following", "--max-tokens", "5", "--json"]
    for more in ([], ["--beams", "2"]):
        assert run([*command, *more]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["channel"] == "text" and found["tokens"] == len(found["ids"]) <= 5


def test_too_few_sentinels_are_named(tmp_path, capsys):
    (tmp_path / "recipe.toml").write_text(CORRUPT % 2)
    assert run(["train", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run")]) == 2
    assert "sentinels, and channel 'text' has 2: reserve more" in capsys.readouterr().err


def test_help_teaches_the_search(capsys):
    assert run(["generate", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--beams" in printed and "--length-penalty" in printed and "encoder-decoder" in printed
    assert "Answers are drawn" in printed, "the whole text, not its first line"
