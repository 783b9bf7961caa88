"""Training: resumed bit for bit, never reached by NaN, and it learns."""

import itertools
import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
import torch

from omnitok import checkpoint
from omnitok.batch import collate
from omnitok.errors import CheckpointError, ConfigError, InputError, LengthError, NonFiniteError
from omnitok.evaluate import evaluate, table
from omnitok.plugins import load_plugins
from omnitok.recipe import make_recipe
from omnitok.run import load_run
from omnitok.tasks import prepare
from omnitok.train import Training, train
from omnitok.update import Updater, learning_rate

TOYS = Path(__file__).with_name("toys.py")
NEVER = threading.Event()

COUNT = {
    "name": "count",
    "data": {"name": "words/counting"},
    "document": [{"waves": "wave"}, {"words": "list"}],
    "objective": {"next": {"on": "words"}},
}
KIND = {
    "name": "kind",
    "data": {"name": "words/counting"},
    "document": [{"waves": "wave"}],
    "objective": {"classify": {"label": "kind"}},
}
SMALL = {"dim": 16, "depth": 1, "heads": 2, "dropout": 0.1}


@pytest.fixture(scope="module")
def host():
    return load_plugins(only=[], files=[TOYS])


def recipe(*tasks, model=SMALL, **settings):
    settings = {"steps": 12, "budget": 48, "warmup": 3, "lr": 0.01, "log_every": 5, "eval_samples": 5, **settings}
    return make_recipe({"tasks": list(tasks or (COUNT, KIND)), "model": dict(model), "train": settings})


class StopAt:
    """Stands in for the event that a signal sets, at a chosen step."""

    def __init__(self, training, step):
        self.training, self.step = training, step

    def is_set(self):
        return self.training.updater.step >= self.step


def outcome(folder):
    """The bytes of the final weights and optimizer, and all metrics but the clock."""
    saved = checkpoint.load(checkpoint.latest(folder))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    records = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    return (
        saved.step,
        saved.files["model.safetensors"],
        saved.files["optimizer.safetensors"],
        saved.files["random.safetensors"],
        records,
    )


@pytest.fixture(scope="module")
def uninterrupted(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(recipe(accumulate=2, evaluate_every=6), folder, host, quiet=True)
    return outcome(folder)


@pytest.mark.parametrize(
    ("cuts", "workers"), [((1,), (0, 0)), ((6,), (0, 1)), ((7,), (2, 0)), ((4, 5), (1, 2, 0)), ((3, 9, 11), (0, 0, 0, 0))]
)
def test_resume_is_exact_whatever_the_workers(host, tmp_path, uninterrupted, cuts, workers):
    for i, (cut, count) in enumerate(zip((*cuts, None), workers, strict=True)):
        setting = recipe(accumulate=2, evaluate_every=6, workers=count)
        saved = checkpoint.load(checkpoint.latest(tmp_path)) if i else None
        torch.manual_seed(99 + i)  # what the process did before must not matter
        training = Training(setting, tmp_path, host, saved)
        assert training.updater.step == (cuts[i - 1] if i else 0)
        result = training.run(NEVER if cut is None else StopAt(training, cut))
        training.close()
        assert result.interrupted == (cut is not None)
    assert outcome(tmp_path) == uninterrupted


def test_a_signal_saves_and_stops_between_steps(host, tmp_path, monkeypatch):
    updates, update = [], Updater.update

    def interrupted(self, batches):
        updates.append(1)
        if len(updates) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return update(self, batches)

    monkeypatch.setattr(Updater, "update", interrupted)
    result = train(recipe(), tmp_path, host, quiet=True)
    assert (result.interrupted, result.step) == (True, 3)
    assert checkpoint.load(checkpoint.latest(tmp_path)).step == 3
    assert train(recipe(), tmp_path, host, resume=True, quiet=True).step == 12


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


@pytest.mark.parametrize("preset", ["decoder", "conformer"])
def test_a_planted_nan_changes_nothing_but_a_skip(host, tmp_path, preset):
    """Weights, running statistics and random state are those of a run that never drew the batch."""
    bad = {**KIND, "data": {"name": "words/counting", "poison": 7, "size": 10}}
    setting = recipe(bad, model={**SMALL, "preset": preset}, max_skips=3, budget=20)
    training = Training(setting, tmp_path, host)
    start, drawn, kept = training.loader.state(), [], []
    training.run(NEVER)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    skips = [line for line in lines if isinstance(line.get("skipped"), str)]
    assert skips, "the planted sample was never drawn"
    assert all(line["skipped"] == "the loss is not finite" for line in skips)
    if preset == "decoder":  # batch norm hands NaN on to the whole batch while training
        assert all(line["documents"] == ["kind/7"] for line in skips)

    clean = Training(setting, tmp_path / "clean", host)
    clean.loader.restore(start)
    while clean.updater.step < setting.train.steps:
        batch = next(clean.loader)
        drawn.append(batch)
        if "kind/7" not in batch.names:
            kept.append(batch)
            assert clean.updater.update([batch]).done
    assert len(drawn) - len(kept) == len(skips)
    assert equal(weights(training.updater.model), weights(clean.updater.model))
    assert all(v.isfinite().all() for v in weights(training.updater.model).values())


def test_a_gradient_that_is_not_finite_is_refused_too(host, tmp_path):
    training = Training(recipe(), tmp_path, host)
    parameter = next(p for p in training.updater.model.parameters() if p.dim() > 1)
    before, batch = weights(training.updater.model), next(training.loader)
    hook = parameter.register_hook(lambda gradient: gradient * torch.inf)
    result = training.updater.update([batch])
    hook.remove()
    assert (result.done, result.reason, training.updater.step) == (False, "the gradient is not finite", 0)
    assert set(result.suspects) == set(batch.names)
    assert equal(before, weights(training.updater.model))
    assert training.updater.update([batch]).done


class Poisoned:
    """A `make` whose every document holds NaN."""

    def __init__(self, make):
        self.make = make

    def __call__(self, task, sample, key):
        document = self.make(task, sample, key)
        return document.replace(
            streams={k: v.map(lambda x: x * torch.nan if x.is_floating_point() else x) for k, v in document.streams.items()}
        )


def test_training_stops_after_too_many_skips_in_a_row(host, tmp_path):
    training = Training(recipe(max_skips=3), tmp_path, host)
    training.run(StopAt(training, 4))
    before = weights(training.updater.model)
    training.loader.make = Poisoned(training.loader.make)
    training.loader.restore(training.loader.state())
    with pytest.raises(NonFiniteError, match=r"3 updates in a row .* step 5 skipped: the loss is not finite; .*/step-000004"):
        training.run(NEVER)
    assert equal(before, weights(training.updater.model))
    assert checkpoint.load(checkpoint.latest(tmp_path)).step == 4


def test_nothing_asked_is_an_error_with_a_name(host, tmp_path):
    silent = {**COUNT, "document": [{"words": "list"}, {"waves": "wave"}], "objective": {"next": {"on": "words"}}, "context": 1}
    with pytest.raises(ConfigError, match="nothing is asked of any document; documents: count/"):
        train(recipe(silent), tmp_path, host, quiet=True)


def test_two_tasks_are_learned_at_once(host, tmp_path):
    result = train(
        recipe(model={**SMALL, "dropout": 0.0}, steps=100, budget=96, lr=0.02, eval_samples=12), tmp_path, host, quiet=True
    )
    count, kind = result.report["count"], result.report["kind"]
    assert count["nats"] < 0.6 * count["chance"]["nats"]
    assert kind["accuracy"] == 1.0 > kind["chance"]["accuracy"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["losses"]["count"] for line in lines if "losses" in line]
    assert losses[-1] < 0.6 * losses[0]

    run = load_run(tmp_path, [TOYS])
    assert evaluate(run.model, run.tasks.opened(host)) == result.report
    words = run.tokenizers["words"]
    prompt = run.tokenizers["waves"].encode(torch.full((3, 4), 5.0)) + words.encode([3, 4])
    made = words.decode(run.generate(prompt, "words", max_tokens=3))
    assert made == [5, 6, 7][: len(made)]
    assert run.answers("kind", {"wave": torch.full((3, 4), 6.0), "kind": 1}) == ["high"]
    text = "".join(str(c) for column in table(result.report).columns for c in column.cells)
    assert "accuracy" in text


def test_accumulated_batches_are_one_batch(host):
    """Sum of losses over sum of weights, over all batches of an update: however the documents are cut into batches."""
    tasks = prepare(recipe({**COUNT, "weight": 3.0}, KIND, model={**SMALL, "dropout": 0.0}), host)
    documents = [tasks(task, i, str(i)) for i in range(4) for task in ("count", "kind")]
    after = []
    for groups in ([documents], [documents[:3], documents[3:]], [documents[:1], documents[1:2], documents[2:]]):
        torch.manual_seed(0)
        updater = Updater(tasks.build(), tasks)
        schema = tasks.schema(updater.model)
        result = updater.update([collate(group, schema) for group in groups])
        after.append((result.loss, result.gradient))
        means = {task: total / weight for task, (total, weight) in result.losses.items()}
        assert result.loss == pytest.approx(3 * means["count"] + means["kind"])
        assert result.losses["kind"][1] == 4
    for loss, gradient in after[1:]:
        assert loss == pytest.approx(after[0][0], rel=1e-5)
        assert gradient == pytest.approx(after[0][1], rel=1e-5)


def test_a_run_folder_is_not_overwritten_and_not_invented(host, tmp_path):
    with pytest.raises(ConfigError, match="no complete checkpoint to resume"):
        train(recipe(), tmp_path, host, resume=True, quiet=True)
    train(recipe(steps=1), tmp_path, host, quiet=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        train(recipe(), tmp_path, host, quiet=True)
    with pytest.raises(CheckpointError, match="'model' of the recipe is not what"):
        train(recipe(model={"dim": 32}), tmp_path, host, resume=True, quiet=True)
    with pytest.raises(CheckpointError, match="order of the data cannot go on: seed was 0 and now is 1"):
        train(recipe(seed=1), tmp_path, host, resume=True, quiet=True)


def test_a_run_wants_its_plugin_file_again(host, tmp_path):
    train(recipe(steps=1), tmp_path, host, quiet=True)
    with pytest.raises(CheckpointError, match=r"plugin 'w.*toys\.py: hand it over with --plugin"):
        load_run(tmp_path)
    changed = tmp_path / "toys.py"
    changed.write_text(TOYS.read_text() + "\n# changed\n")
    with pytest.raises(CheckpointError, match=r"toys\.py is not the one"):
        load_run(tmp_path, [changed])
    with pytest.raises(CheckpointError, match="no complete checkpoint here"):
        load_run(tmp_path / "elsewhere", [TOYS])
    checkpoint.save(tmp_path / "bare", 1, {}, {}, {}, keep=1)
    with pytest.raises(CheckpointError, match="has no recipe, tokenizers, objectives, plugins, versions"):
        load_run(tmp_path / "bare", [TOYS])


def test_documents_over_the_budget(host, tmp_path):
    long = {**COUNT, "data": {"name": "words/counting", "long": True}}
    with pytest.raises(LengthError, match=r"task 'count', sample \d+.* has 44 tokens and the budget of a batch is 30"):
        train(recipe(long, budget=30), tmp_path / "a", host, quiet=True)
    result = train(recipe({**long, "truncate": True}, budget=30, steps=2, log_every=1), tmp_path / "b", host, quiet=True)
    assert result.report["count"]["cut"] == 5
    lines = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    assert [line["cut"] for line in lines if "cut" in line] == [1, 1]
    tasks = prepare(recipe({**long, "truncate": True}, budget=30), host)
    assert tasks("count", 0, "k").name == "count/0 (cut: first 30 of 44 tokens)"


def test_windows_start_at_units_in_training_and_at_the_start_in_evaluation(host):
    tasks = prepare(
        recipe({**COUNT, "context": 2, "document": [{"waves": "wave"}], "objective": {"next": {"on": "waves"}}}), host
    )
    sample = {"wave": torch.arange(28.0).view(7, 4)}
    starts = {int(tasks.document("count", sample, key=str(k)).main.spans[0].features[0, 0]) // 4 for k in range(60)}
    assert starts == {0, 2, 4}
    assert len(tasks.document("count", sample, key="k").main) == 2
    assert float(tasks.document("count", sample).main.spans[0].features[0, 0]) == 0


def test_tokenizers_are_fitted_to_training_samples_only(host):
    from toys import Counting

    rows = Counting().split("train")
    mean = torch.cat([r["wave"] for r in rows]).mean().item()
    assert float(prepare(recipe(), host).tokenizers["waves"].state) == mean
    few = [float(prepare(recipe(fit_samples=5, seed=s), host).tokenizers["waves"].state) for s in (0, 0, 1)]
    assert few[0] == few[1] != few[2]


def test_metadata_fills_what_the_recipe_leaves_out(host):
    tasks = prepare(recipe(), host)
    assert tasks.tokenizers["words"].alphabet[:2] == ("0", "1")
    assert tasks.objectives["kind"].names == ("low", "high")
    own = {**KIND, "objective": {"classify": {"label": "kind", "classes": 5}}}
    assert prepare(recipe(own), host).objectives["kind"].size() == 5


def test_mistakes_in_tasks_are_named(host, tmp_path):
    with pytest.raises(InputError, match=r"task 'count', sample .*the sample has no field 'lst'; did you mean 'list'"):
        train(recipe({**COUNT, "document": [{"words": "lst"}]}), tmp_path, host, quiet=True)
    with pytest.raises(
        ConfigError, match="data of task 'count': dataset 'words/counting' has no split 'trian'; did you mean 'train'"
    ):
        prepare(recipe({**COUNT, "data": {"name": "words/counting", "split": "trian"}}), host)
    with pytest.raises(ConfigError, match=r"data of task 'count': unknown field 'sise'.*did you mean 'size'"):
        prepare(recipe({**COUNT, "data": {"name": "words/counting", "sise": 1}}), host)
    unused = make_recipe({"tokenizers": {"wordz": {"plugin": "words"}}, "tasks": [COUNT]})
    with pytest.raises(ConfigError, match="tokenizer 'wordz' is used by no task; did you mean 'words'"):
        prepare(unused, host)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler looks at gradients of tensors that have none, and at itself
def test_compiled_updates_are_the_same(host, tmp_path):
    if not shutil.which("g++"):
        pytest.skip("no C++ compiler")
    reports = []
    for compiled in (False, True):
        setting = recipe(model={**SMALL, "dropout": 0.0}, compile=compiled)
        reports.append(train(setting, tmp_path / str(compiled), host, quiet=True).report)
    for task in ("count", "kind"):
        assert reports[0][task]["loss"] == pytest.approx(reports[1][task]["loss"], rel=1e-3)
    run = load_run(tmp_path / "True", [TOYS])
    assert evaluate(run.model, run.tasks.opened(host))["count"]["loss"] == pytest.approx(reports[1]["count"]["loss"], rel=1e-3)


def test_a_device_that_is_not_there_is_named(host, tmp_path):
    with pytest.raises(ConfigError, match=r"train\.device: unknown device 'gpu'"):
        train(recipe(device="gpu"), tmp_path, host, quiet=True)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no usable GPU"):
            train(recipe(device="cuda"), tmp_path, host, quiet=True)


def test_the_rate_rises_and_falls():
    config = recipe(steps=100, warmup=10, lr=0.5, floor=0.1).train
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[9] == rates[10] == 0.5
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[100] == pytest.approx(0.05)
