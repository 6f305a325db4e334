"""VBPR, LightGCN-M and LATTICE beside their equations written out in NumPy's float64."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from monge.data import Interactions, Modality
from monge.models import find_model, make_model
from tests.conftest import cycle_sequences, log_of, with_content

Matrix = npt.NDArray[np.float64]


def model_of(name: str, log: Interactions, **options: Any) -> Any:
    cls = find_model(name)
    torch.manual_seed(3)
    config = cls.Config(dim=4, **options)
    made: Any = make_model(cls, config, n_users=log.n_users, n_items=log.n_items, item_columns={}, modalities=log.modalities)
    made.batches(log, seed=0, device=torch.device("cpu"))
    return made


def matrix(tensor: torch.Tensor) -> Matrix:
    return tensor.detach().double().numpy()


def taken(log: Interactions) -> Matrix:
    found = np.zeros((log.n_users, log.n_items))
    found[log.user, log.item] = 1
    return found


def unit(rows: Matrix) -> Matrix:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def projected(model: Any, log: Interactions) -> list[Matrix]:
    """W f + b; the learned vector where an item has no row."""
    found = []
    for name, modality in log.modalities.items():
        layer = model.content[name]
        rows = modality.dense().astype(np.float64) @ matrix(layer.weight) + matrix(layer.bias)
        if layer.unknown is not None:
            rows[modality.missing] = matrix(layer.unknown)
        found.append(rows)
    return found


def test_vbpr_is_equation_4() -> None:
    log = with_content(log_of(cycle_sequences()))
    model = model_of("vbpr", log, content_dim=3)
    torch.nn.init.normal_(model.bias)
    features = sum(projected(model, log))
    by_hand = (
        matrix(model.users.weight) @ matrix(model.items.weight).T
        + matrix(model.tastes.weight) @ features[:, :3].T  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]
        + features[:, 3]  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]
        + matrix(model.bias)
    )
    vectors, bias = model.item_vectors()
    users = torch.cat([model.users.weight, model.tastes.weight], 1)
    np.testing.assert_allclose(matrix(users @ vectors.T + bias), by_hand, rtol=1e-4, atol=1e-5)


def test_lightgcn_m_begins_with_content() -> None:
    log = with_content(log_of(cycle_sequences()))
    model = model_of("lightgcn-m", log, n_layers=2)
    a = taken(log)
    normal = a / np.sqrt(a.sum(1, keepdims=True)) / np.sqrt(a.sum(0, keepdims=True))
    users, items = matrix(model.users.weight), matrix(model.items.weight) + sum(projected(model, log))
    first_u, first_i = normal @ items, normal.T @ users
    second_u, second_i = normal @ first_i, normal.T @ first_u
    found = model.final()
    np.testing.assert_allclose(matrix(found[0]), (users + first_u + second_u) / 3, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(matrix(found[1]), (items + first_i + second_i) / 3, rtol=1e-4, atol=1e-6)


def item_graph(rows: Matrix, modality: Modality, k: int) -> Matrix:
    """The k largest cosines of each row, none below zero, none from or to an item without a row; over roots of row sums."""
    cosines = unit(rows) @ unit(rows).T
    cosines[modality.missing] = cosines[:, modality.missing] = 0
    kept = np.zeros_like(cosines)
    for item, row in enumerate(cosines):
        near = np.argsort(-row, kind="stable")[:k]
        kept[item, near] = np.maximum(row[near], 0)
    sums = kept.sum(1)
    roots = np.divide(1, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
    return kept * roots[:, None] * roots[None]


@pytest.mark.parametrize("modalities", ["visual", "visual,sound"])
def test_lattice_is_equations_2_to_9(modalities: str) -> None:
    log = with_content(log_of(cycle_sequences()))
    rng = np.random.default_rng(1)
    sound = Modality(missing=np.arange(10) == 3, width=4, values=np.where(np.arange(10)[:, None] == 3, 0, rng.normal(size=(10, 4))))
    log = Interactions(**{**vars(log), "modalities": {"visual": log.modalities["visual"], "sound": sound}})
    model = model_of("lattice", log, k=3, n_layers=1, skip=0.7, content_dim=3, modalities=modalities)
    torch.nn.init.normal_(model.modality_weight)
    names = modalities.split(",")
    weights = np.exp(matrix(model.modality_weight)) / np.exp(matrix(model.modality_weight)).sum()
    s = np.zeros((log.n_items, log.n_items))
    for weight, name in zip(weights, names, strict=True):
        modality, layer = log.modalities[name], model.content[name]
        rows = modality.dense().astype(np.float64)
        learned = rows @ matrix(layer.weight) + matrix(layer.bias)
        s += weight * (0.7 * item_graph(rows, modality, 3) + 0.3 * item_graph(learned, modality, 3))
    a, users, items = taken(log), matrix(model.users.weight), matrix(model.items.weight)
    first_users = (a @ items + users) / (a.sum(1, keepdims=True) + 1)
    first_items = (a.T @ users + items) / (a.sum(0)[:, None] + 1)
    found = model.final()
    np.testing.assert_allclose(matrix(found[0]), (users + first_users) / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(matrix(found[1]), (items + first_items) / 2 + unit(s @ items), rtol=1e-4, atol=1e-5)
    if names == ["visual"]:
        lacking = log.modalities["visual"].missing
        assert not (s @ items)[lacking].any()
        assert (s @ items)[~lacking].any(1).all()
