"""Values out of range, of the wrong type or unknown stop before anything is trained."""

import dataclasses
from typing import Any

import pytest

from monge.errors import ConfigError, UnknownNameError
from monge.models import MODELS, find_model
from monge.options import build_config, describe_options
from monge.training.loop import TrainingConfig

SEQUENTIAL = ("sasrec", "stosa", "coserec", "mstein")
EVERY = [
    *[
        (name, option, value)
        for name in SEQUENTIAL
        for option, value in (
            ("dim", 0), ("max_length", 0), ("n_layers", -1), ("n_heads", 0), ("dropout", 1.0), ("dropout", -0.1),
            ("attention_dropout", 1.5), ("n_negatives", 0), ("gbce_calibration", 1.1), ("batch_size", 0), ("learning_rate", 0.0),
            ("weight_decay", -1.0), ("temperature", 0.0), ("temperature", -1.0), ("dim", 7),
        )
    ],
    *[
        (name, option, value)
        for name in ("coserec", "mstein")
        for option, value in (
            ("cl_weight", -0.1), ("cl_temperature", 0.0), ("crop_ratio", 1.1), ("mask_ratio", -0.1), ("reorder_ratio", 2.0),
            ("substitute_ratio", 1.01), ("insert_ratio", -0.5), ("length_threshold", -2), ("similarity_warmup", -1),
        )
    ],
    ("stosa", "pvn_weight", -0.1), ("mstein", "pvn_weight", -0.1),
    ("bprmf", "dim", 0), ("bprmf", "regularisation", -1.0), ("bprmf", "batch_size", 0), ("bprmf", "learning_rate", 0.0),
    ("bprmf", "weight_decay", -1.0),
    ("lightgcn", "dim", 0), ("lightgcn", "n_layers", -1), ("lightgcn", "regularisation", -1.0), ("lightgcn", "batch_size", 0),
    ("lightgcn", "learning_rate", 0.0), ("lightgcn", "weight_decay", -1.0),
    *[
        (name, option, value)
        for name in ("clrec", "sclrec", "directau", "buir")
        for option, value in (("dim", 0), ("batch_size", 1), ("learning_rate", 0.0), ("weight_decay", -1.0), ("n_layers", -1),
            ("edge_dropout", 1.0), ("edge_dropout", -0.1),
        )
    ],
    *[(name, "tau", value) for name in ("clrec", "sclrec") for value in (0.0, -0.2)],
    *[("sclrec", option, -0.1) for option in ("alpha", "entropy", "user_weight", "item_weight", "popularity_weight", "momentum")],
    ("sclrec", "alpha", 1.1), ("sclrec", "entropy", 0.0), ("sclrec", "n_iterations", -1), ("sclrec", "momentum", 1.01),
    ("directau", "gamma", -0.1), ("buir", "momentum", 1.5), ("buir", "momentum", -0.1),
    *[
        (name, option, value)
        for name in ("mf", "neumf", "multvae", "sinkhorncf")
        for option, value in (
            ("dim", 0), ("batch_size", 0), ("learning_rate", 0.0), ("weight_decay", -1.0), ("epsilon", 0.0), ("n_iterations", 0),
            ("shrink", -1.0),
        )
    ],
    *[
        (name, option, value)
        for name in ("multvae", "sinkhorncf")
        for option, value in (
            ("hidden", 0), ("n_hidden", -1), ("dropout", 1.0), ("kl_cap", -0.1), ("kl_steps", 0),
        )
    ],
    ("neumf", "hidden", 0), ("neumf", "n_negatives", 0),
    ("sinkhorncf", "alpha", 1.0), ("sinkhorncf", "alpha", -0.1), ("sinkhorncf", "k", 0), ("sinkhorncf", "l1_weight", -1.0),
    ("sinkhorncf", "l1_every", 0), ("sinkhorncf", "l1_start_epoch", -1), ("sinkhorncf", "l1_max_users", -1),
    ("itemknn", "k", 0), ("itemknn", "shrink", -1.0), ("itemknn", "bm25_k1", -0.1), ("itemknn", "bm25_b", 1.5),
    ("p3alpha", "alpha", -0.1), ("p3alpha", "k", 0), ("rp3beta", "alpha", -0.1), ("rp3beta", "beta", -0.1), ("rp3beta", "k", 0),
    ("slim", "k", 0), ("slim", "regularisation", 0.0), ("slim", "l1_ratio", 1.0), ("slim", "l1_ratio", -0.1),
    ("ease", "regularisation", 0.0), ("ease", "max_gigabytes", 0.0),
    ("wmf", "dim", 0), ("wmf", "confidence", 0.5), ("wmf", "regularisation", 0.0), ("wmf", "sweeps", 0),
    ("bpf", "dim", 0), ("bpf", "shape", 0.0), ("bpf", "activity_shape", -1.0), ("bpf", "activity_mean", 0.0), ("bpf", "sweeps", 0),
    ("bpf", "fold_in_sweeps", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "option", "value"), EVERY)
def test_out_of_range_names_the_option_and_the_value(name: str, option: str, value: float) -> None:
    with pytest.raises(ConfigError) as error:
        build_config(find_model(name).Config, {option: value})
    message = str(error.value)
    assert f"--{option.replace('_', '-')}" in message
    assert str(value) in message
    assert "\n" not in message


@pytest.mark.parametrize("option", ["learning_rate", "temperature", "dropout", "weight_decay"])
@pytest.mark.parametrize("value", ["nan"])
def test_not_a_number_is_out_of_range(option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')}"):
        build_config(find_model("sasrec").Config, {option: value})


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("sasrec", "dim", "wide"),
        ("sasrec", "dim", 3.5),
        ("sasrec", "loss", "hinge"),
        ("stosa", "mean_stream", "gone"),
        ("mstein", "cl_sim", "cosine"),
        ("mstein", "cl_readout", "first"),
        ("mstein", "cl_padding", "none"),
        ("coserec", "cl_sim", "neg_w2"),
        ("itemknn", "weighting", "log"),
        ("clrec", "score", "cosine"),
        ("sclrec", "popularity_scale", "softmax"),
        ("sclrec", "mask_false_negatives", "same_user"),
        ("sclrec", "encoder", "transformer"),
        ("buir", "normalisation", "left"),
        ("mf", "observation", "normal"),
        ("neumf", "form", "he2016"),
        ("multvae", "activation", "elu"),
        ("sinkhorncf", "flow", "iaf3"),
        ("sasrec", "bucketed", "perhaps"),
    ],
)
def test_a_wrong_type_or_choice_names_option_and_value(name: str, option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')}: .*{value}"):
        build_config(find_model(name).Config, {option: value})


def test_the_short_set_is_checked() -> None:
    with pytest.raises(UnknownNameError, match="--short-set 'SIX' is unknown; did you mean"):
        build_config(find_model("mstein").Config, {"short_set": "SIX"})


def test_an_unknown_option_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="no option 'learning_rat' in SASRecConfig; did you mean 'learning_rate'"):
        build_config(find_model("sasrec").Config, {"learning_rat": 1})


def test_text_becomes_what_the_field_says() -> None:
    config = build_config(find_model("sasrec").Config, {"dim": "32", "learning_rate": "1e-4", "bucketed": "false"})
    assert (config.dim, config.learning_rate, config.bucketed) == (32, 1e-4, False)


@pytest.mark.parametrize(
    ("option", "value"),
    [("epochs", 0), ("patience", 0), ("validate_every", 0), ("clip", -1.0), ("max_minutes", -1.0), ("seed", -1)],
)
def test_training_options_have_ranges(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')} must be at least .*{value}"):
        build_config(TrainingConfig, {option: value})


@pytest.mark.parametrize("name", MODELS)
def test_every_option_has_a_text_and_configs_are_frozen(name: str) -> None:
    cls = find_model(name).Config
    assert [option.name for option in describe_options(cls) if not option.help] == []
    config = cls()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.dim = 3


def test_published_settings_are_the_defaults() -> None:
    """MStein's and STOSA's README for Beauty; CoSeRec's defaults."""
    mstein, stosa, coserec = (find_model(name).Config() for name in ("mstein", "stosa", "coserec"))
    assert (mstein.dim, mstein.max_length, mstein.n_layers, mstein.n_heads, mstein.dropout, mstein.attention_dropout) == (
        64,
        50,
        1,
        2,
        0.1,
        0,
    )
    assert (mstein.learning_rate, mstein.weight_decay, mstein.batch_size, mstein.pvn_weight, mstein.cl_weight) == (
        1e-3,
        0,
        1024,
        0.01,
        0.005,
    )
    assert (mstein.substitute_ratio, mstein.insert_ratio, mstein.length_threshold, mstein.similarity_warmup) == (0.5, 0.3, 16, 160)
    assert (mstein.short_set, mstein.cl_sim, mstein.mean_stream, mstein.cl_readout) == ("SIM", "neg_w2", "attended", "flatten")
    assert (stosa.dim, stosa.max_length, stosa.n_layers, stosa.n_heads, stosa.dropout, stosa.attention_dropout) == (64, 100, 1, 4, 0.3, 0)
    assert (stosa.learning_rate, stosa.batch_size, stosa.pvn_weight) == (1e-3, 256, 0.005)
    assert (coserec.dim, coserec.max_length, coserec.n_layers, coserec.n_heads, coserec.dropout, coserec.attention_dropout) == (
        64,
        50,
        2,
        2,
        0.5,
        0.5,
    )
    assert (coserec.cl_weight, coserec.cl_temperature, coserec.substitute_ratio, coserec.insert_ratio) == (0.1, 1, 0.1, 0.4)


def test_sinkhorncfs_defaults_are_the_papers() -> None:
    """Li et al., WWW 2021, sec. 4.1, where it speaks; the KL term and ReLU are the published code's."""
    sinkhorn, mult, mf, neumf = (find_model(name).Config() for name in ("sinkhorncf", "multvae", "mf", "neumf"))
    assert (sinkhorn.k, sinkhorn.n_iterations, sinkhorn.epsilon, sinkhorn.alpha, sinkhorn.shrink) == (200, 5, 1.0, 0.03, 0)
    assert (sinkhorn.l1_weight, sinkhorn.l1_every, sinkhorn.l1_start_epoch, sinkhorn.l1_max_users) == (1, 1, 0, 0)
    assert (sinkhorn.debias, sinkhorn.flow, sinkhorn.activation, mult.activation) == (False, "none", "relu", "tanh")
    for config in (sinkhorn, mult):
        assert (config.dim, config.hidden, config.n_hidden, config.dropout, config.batch_size) == (200, 600, 1, 0.5, 500)
        assert (config.kl_cap, config.kl_steps, config.learning_rate) == (0.2, 200_000, 1e-3)
    assert (mf.dim, mf.batch_size, mf.observation, mult.observation) == (16, 200, "gaussian", "multinomial")
    assert (neumf.dim, neumf.hidden, neumf.form, neumf.observation) == (16, 50, "he2017", "bernoulli")


def test_sclrecs_defaults_are_the_papers() -> None:
    """Zhuang & Zhang, sec. 4.1 and Table 3; tau, which they never give, is that of DirectAU's published CLRec."""
    soft, hard, directau, buir = (find_model(name).Config() for name in ("sclrec", "clrec", "directau", "buir"))
    for config in (soft, hard, directau, buir):
        assert (config.dim, config.learning_rate, config.batch_size, config.encoder) == (64, 1e-3, 1024, "embedding")
    assert (soft.alpha, soft.user_weight, soft.item_weight, soft.popularity_weight) == (0.9, 1, 1, 0.1)
    assert (soft.entropy, soft.n_iterations, soft.ema, soft.momentum) == (0.1, 6, True, 0.9)
    assert (soft.popularity_scale, soft.rows_first, soft.symmetric, soft.mask_false_negatives) == ("relative", True, False, "none")
    assert soft.tau == hard.tau == 0.2
    assert soft.score == hard.score == directau.score == "normalised"
    assert (buir.momentum, buir.edge_dropout) == (0.995, 0.2)
    assert soft.edge_dropout == hard.edge_dropout == directau.edge_dropout == 0
