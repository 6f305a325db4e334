"""The models, by name. To add one: its file, its test, one line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from monge.data import Domains, Modality
from monge.data.interactions import ObjectArray
from monge.errors import UnknownNameError, nearest
from monge.models.contract import InnerProduct, ItemVectors, Recommender, Solvable, Trainable

MODELS = {
    "popular": "monge.models.collaborative.popular:Popular",
    "itemknn": "monge.models.collaborative.itemknn:ItemKNN",
    "p3alpha": "monge.models.collaborative.p3alpha:P3alpha",
    "rp3beta": "monge.models.collaborative.rp3beta:RP3beta",
    "slim": "monge.models.collaborative.slim:SLIM",
    "ease": "monge.models.collaborative.ease:EASE",
    "wmf": "monge.models.collaborative.wmf:WMF",
    "bpf": "monge.models.collaborative.bpf:BPF",
    "bprmf": "monge.models.collaborative.bprmf:BPRMF",
    "lightgcn": "monge.models.collaborative.lightgcn:LightGCN",
    "clrec": "monge.models.collaborative.clrec:CLRec",
    "directau": "monge.models.collaborative.directau:DirectAU",
    "buir": "monge.models.collaborative.buir:BUIR",
    "sclrec": "monge.models.collaborative.sclrec:SCLRec",
    "mf": "monge.models.collaborative.mf:MF",
    "neumf": "monge.models.collaborative.neumf:NeuMF",
    "multvae": "monge.models.collaborative.multvae:MultVAE",
    "sinkhorncf": "monge.models.collaborative.sinkhorncf:SinkhornCF",
    "vbpr": "monge.models.multimodal.vbpr:VBPR",
    "lightgcn-m": "monge.models.multimodal.lightgcn_m:LightGCNM",
    "lattice": "monge.models.multimodal.lattice:LATTICE",
    "slmrec": "monge.models.multimodal.slmrec:SLMRec",
    "mmssl": "monge.models.multimodal.mmssl:MMSSL",
    "last-popular": "monge.models.sequential.last_popular:LastPopular",
    "sasrec": "monge.models.sequential.sasrec:SASRec",
    "stosa": "monge.models.sequential.stosa:STOSA",
    "coserec": "monge.models.sequential.coserec:CoSeRec",
    "mstein": "monge.models.sequential.mstein:MStein",
    "svae": "monge.models.sequential.svae:SVAE",
    "domain-sasrec": "monge.models.crossdomain.domain_sasrec:DomainSASRec",
    "domain-multvae": "monge.models.crossdomain.domain_multvae:DomainMultVAE",
    "domain-svae": "monge.models.crossdomain.domain_svae:DomainSVAE",
    "c2dsr": "monge.models.crossdomain.c2dsr:C2DSR",
    "savae": "monge.models.crossdomain.savae:SAVAE",
    "i2vae": "monge.models.crossdomain.i2vae:I2VAE",
}
"""Name on the command line -> where the class is."""


def find_model(name: str) -> type[Recommender]:
    """The class of a built-in model, or of somebody else's named by its import path `package.module:Class`.

    Raises:
        UnknownNameError: no such model, module or class.
    """
    path = MODELS.get(name, name)
    module_name, colon, attribute = path.partition(":")
    if not colon:
        raise UnknownNameError(f"no model {name!r}{nearest(name, MODELS)} (or pass 'package.module:Class')")
    try:
        model = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UnknownNameError(f"no model {name!r}: {error}") from error
    missing = [part for part in ("Config", "answers_unknown_users", "scores") if not hasattr(model, part)]
    if missing:
        raise UnknownNameError(f"{name} is no recommender: it has no {', '.join(missing)} (see monge.models.contract)")
    return model


def make_model(
    cls: type[Recommender],
    config: Any,
    *,
    n_users: int,
    n_items: int,
    item_columns: Mapping[str, ObjectArray],
    modalities: Mapping[str, Modality],
) -> nn.Module:
    """A model with its first weights; one that declares `needs_domains` or `uses_modalities` is also given what it asks for.

    Raises:
        DataError: it needs domains, and the items have none.
    """
    more: dict[str, Any] = {"domains": Domains.of(item_columns)} if getattr(cls, "needs_domains", False) else {}
    if getattr(cls, "uses_modalities", False):
        more["modalities"] = modalities
    model = cls(config, n_users=n_users, n_items=n_items, **more)  # pyright: ignore[reportCallIssue] (the contract's constructor)
    assert isinstance(model, nn.Module)
    return model


__all__ = ["MODELS", "InnerProduct", "ItemVectors", "Recommender", "Solvable", "Trainable", "find_model", "make_model"]
