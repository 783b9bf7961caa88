"""Causal language models: published configurations and files as they are found, what they refuse, and their dropout."""

import pytest
import torch

from omnitok import presets
from omnitok.assemble import build
from omnitok.batch import Ask, Document, collate
from omnitok.errors import CheckpointError, ConfigError
from omnitok.nn.positions import Rope
from omnitok.nn.rope import Stretch, StretchedRope
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from omnitok.weights import export_weights, import_weights

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
SCALING = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
LLAMA_31 = {**LLAMA, "max_position_embeddings": 131072, "rope_theta": 500000.0, "rope_scaling": SCALING}
GPT2 = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "attn_pdrop": 0.1,
    "bos_token_id": 50256,
    "embd_pdrop": 0.1,
    "eos_token_id": 50256,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "n_ctx": 1024,
    "n_embd": 1024,
    "n_head": 16,
    "n_layer": 24,
    "n_positions": 1024,
    "n_special": 0,
    "resid_pdrop": 0.1,
    "vocab_size": 50257,
}
QWEN3 = {
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
MISTRAL = {
    "model_type": "mistral",
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
GPTJ = {
    "model_type": "gptj",
    "activation_function": "gelu_new",
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "layer_norm_epsilon": 1e-05,
    "n_embd": 4096,
    "n_head": 16,
    "n_inner": None,
    "n_layer": 28,
    "n_positions": 2048,
    "resid_pdrop": 0.0,
    "rotary": True,
    "rotary_dim": 64,
    "tie_word_embeddings": False,
    "vocab_size": 50400,
}
BLOOM = {
    "model_type": "bloom",
    "apply_residual_connection_post_layernorm": False,
    "attention_dropout": 0.0,
    "hidden_dropout": 0.0,
    "layer_norm_epsilon": 1e-05,
    "n_embed": 1024,
    "n_inner": None,
    "n_layer": 24,
    "num_attention_heads": 16,
    "offset_alibi": 100,
    "pretraining_tp": 1,
    "vocab_size": 250880,
}
PYTHIA = {
    "model_type": "gpt_neox",
    "hidden_act": "gelu",
    "hidden_size": 512,
    "intermediate_size": 2048,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "num_attention_heads": 8,
    "num_hidden_layers": 6,
    "rotary_emb_base": 10000,
    "rotary_pct": 0.25,
    "tie_word_embeddings": False,
    "use_parallel_residual": True,
    "vocab_size": 50304,
}
PUBLISHED = {
    "gpt2-medium": ("gpt2", GPT2),
    "llama-3.1-8b": ("llama", LLAMA_31),
    "llama-3-8b": ("llama", {**LLAMA, "max_position_embeddings": 8192, "rope_theta": 500000.0}),
    "qwen3-0.6b": ("qwen3", QWEN3),
    "mistral-7b": ("mistral", MISTRAL),
    "mistral-7b-v0.3": ("mistral", {**MISTRAL, "sliding_window": None, "rope_theta": 1e6, "vocab_size": 32768}),
    "gpt-j-6b": ("gptj", GPTJ),
    "bloom-560m": ("bloom", BLOOM),
    "pythia-70m": ("gpt-neox", PYTHIA),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration_is_the_published_size(name: str) -> None:
    """As files on model hubs are, with settings that the libraries of their time wrote; and it is written as it is read."""
    preset, config = PUBLISHED[name]
    cls = presets.get(preset)
    size = cls.published[name]
    read, channels = cls.from_config(config)
    assert read == cls(**size.fields)
    assert {r: c.vocab for r, c in channels.items()} == {r: c.vocab for r, c in size.channels.items()}
    written = read.to_config(channels)
    again, back = cls.from_config(written)
    assert back == channels and again.to_config(back) == written
    assert all(written[k] == v for k, v in config.items() if k in written and k != "rope_scaling"), "nothing is said otherwise"


def test_the_old_and_the_new_way_to_say_rotary_positions_agree() -> None:
    """Version 5 of transformers keeps all in `rope_parameters`."""
    cls = presets.get("llama")
    new = {k: v for k, v in LLAMA_31.items() if k not in ("rope_theta", "rope_scaling")}
    assert cls.from_config({**new, "rope_parameters": {**SCALING, "rope_theta": 5e5}})[0] == cls.from_config(LLAMA_31)[0]
    end = cls.from_config({**LLAMA_31, "eos_token_id": [128001, 128009], "bos_token_id": 128000})[1]["tokens"]
    assert (end.start, end.end) == (128000, 128001)


REFUSED = {
    "scale_attn_by_inverse_layer_idx": ("gpt2", GPT2, True),
    "scale_attn_weights": ("gpt2", GPT2, False),
    "add_cross_attention": ("gpt2", GPT2, True),
    "activation_function": ("gpt2", GPT2, "mish"),
    "model_type": ("llama", LLAMA, "gemma"),
    "rope_type = 'yarn'": ("llama", LLAMA, None),
    "use_sliding_window": ("qwen3", QWEN3, True),
    "layer_types": ("qwen3", QWEN3, ["sliding_attention"] * 28),
    "apply_residual_connection_post_layernorm": ("bloom", BLOOM, True),
    "tie_word_embeddings": ("gptj", GPTJ, True),
    "attention_bias": ("gpt-neox", PYTHIA, False),
    "rope_parameters of their own for full_attention": ("mistral", MISTRAL, None),
    "lacks 'hidden_size'": ("llama", {k: v for k, v in LLAMA.items() if k != "hidden_size"}, None),
    "lacks 'vocab_size'": ("gpt2", {k: v for k, v in GPT2.items() if k != "vocab_size"}, None),
    "lacks 'factor'": ("llama", LLAMA, None),
    "partial_rotary_factor": ("llama", LLAMA, None),
}
MORE = {
    "rope_type = 'yarn'": {"rope_scaling": {"type": "yarn", "factor": 4.0}},
    "rope_parameters of their own for full_attention": {"rope_parameters": {"full_attention": {"rope_theta": 1e6}}},
    "lacks 'factor'": {"rope_scaling": {"rope_type": "llama3"}},
    "partial_rotary_factor": {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
}


@pytest.mark.parametrize("setting", REFUSED)
def test_settings_that_are_not_followed_are_refused_by_name(setting: str) -> None:
    preset, config, value = REFUSED[setting]
    with pytest.raises(ConfigError, match=f"{preset}: .*{setting}"):
        presets.get(preset).from_config({**config, **MORE.get(setting, {setting: value})})


SMALL = {"dim": 16, "depth": 2, "heads": 2}
TINY = {
    "gpt2": {},
    "bloom": {},
    "gptj": {"rotary": 4},
    "llama": {"hidden": 24},
    "qwen3": {"hidden": 24, "kv_heads": 1},
    "mistral": {"hidden": 24, "kv_heads": 1, "window": 3},
    "gpt-neox": {"hidden": 24},
}


def tiny(name: str, **more):
    torch.manual_seed(0)
    return build(presets.get(name)(**{**SMALL, **TINY[name], **more}), {"words": Channel(vocab=11)})


@pytest.mark.parametrize("name", ["gpt2", "bloom"])
def test_files_without_the_head_and_its_prefix_are_read(name: str) -> None:
    """So the published sizes are stored."""
    model = tiny(name)
    whole = export_weights(model)
    bare = {k.removeprefix("transformer."): v for k, v in whole.items() if k != "lm_head.weight"}
    other = tiny(name, init_std=0.5)
    import_weights(other, bare)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in model.state_dict().items() if k.startswith("streams."))
    assert export_weights(model, layout="transformers base").keys() == bare.keys()


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("gpt2", "h.0.attn.bias"),
        ("gptj", "transformer.h.0.attn.masked_bias"),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("gpt-neox", "gpt_neox.layers.1.attention.bias"),
    ],
)
def test_masks_and_angles_in_old_files_are_passed_over(name: str, old: str) -> None:
    model = tiny(name)
    theirs = export_weights(model)
    import_weights(model, {**theirs, old: torch.ones(3)})
    with pytest.raises(CheckpointError, match="reads no"):
        import_weights(model, {**theirs, old + "es": torch.ones(3)})


def test_a_stretch_leaves_short_waves_and_slows_long_ones() -> None:
    stretch = Stretch(factor=8.0, low=1.0, high=4.0, length=512)
    plain = Rope(theta=1000.0).build(1, 64).rate(64, torch.device("cpu"))
    slow = StretchedRope(theta=1000.0, stretch=stretch).build(1, 64).rate(64, torch.device("cpu"))
    length, ratio = 2 * torch.pi / plain, plain / slow
    torch.testing.assert_close(ratio[length < 128], torch.ones_like(ratio[length < 128]))
    torch.testing.assert_close(ratio[length > 512], torch.full_like(ratio[length > 512], 8.0))
    between = ratio[(length > 128) & (length < 512)]
    assert len(between) > 3 and bool((between.diff() > 0).all()) and 1 < between[0] < between[-1] < 8


DROPPED = [(n, f) for n in TINY for f in presets.get(n).__struct_fields__ if f.endswith("dropout")]


@pytest.mark.parametrize(("name", "field"), DROPPED)
def test_every_dropout_acts_in_training_only(name: str, field: str) -> None:
    off = {f: 0.0 for n, f in DROPPED if n == name}
    model = tiny(name, **{**off, field: 0.5})
    rows = torch.arange(5)
    ask = Ask("main:tokens", rows, torch.zeros(5), torch.ones(5))
    batch = collate([Document({"main": TokenSequence((Span("words", rows),))}, {"next": ask})], model.schema)
    with torch.no_grad():
        still, other = model.eval()(batch)["next"], model(batch)["next"]
        moving, again = model.train()(batch)["next"], model(batch)["next"]
    assert torch.equal(still, other)
    assert not torch.equal(moving, again) and not torch.equal(moving, still)


PARAMETERS = {
    "gpt2": (124_439_808, 354_823_168, 774_030_080, 1_557_611_200),
    "llama": (6_738_415_616, 13_015_864_320, 8_030_261_248, 8_030_261_248, 1_235_814_400),
    "qwen3": (596_049_920, 1_720_574_976, 4_022_468_096, 8_190_735_360),
    "mistral": (7_241_732_096, 7_248_023_552),
    "gptj": (6_050_882_784,),
    "bloom": (559_214_592, 1_722_408_960, 3_002_557_440, 7_069_016_064),
    "gpt-neox": (162_322_944, 70_426_624, 405_334_016, 1_414_647_808, 20_554_567_680),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_published_sizes_have_the_published_parameters(name: str) -> None:
    found = []
    for size in presets.get(name).published.values():
        with torch.device("meta"):
            model = build(presets.get(name)(**size.fields), size.channels)
        found.append(sum(p.numel() for k, p in model.named_parameters() if k.startswith("streams.")))
    assert tuple(found) == PARAMETERS[name]
