"""Contrastive losses between two views of the same B users.

The symmetric ones take the views stacked to 2B rows, view a of every user and then view b: the positive of row i is row i + B (mod 2B),
the other 2B - 2 rows are negatives, and both directions count.  ln(2B - 1) means "cannot tell the rows apart".

Axes: B users, V width of one view's vector.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from monge.ot import w2_within


def two_view_cross_entropy(logits: Tensor) -> Tensor:
    """(2B, 2B) logits between stacked views -> () nats; the diagonal is left out.

    Raises:
        ValueError: logits are not a square with an even side.
    """
    rows = len(logits)
    if logits.shape != (rows, rows) or rows % 2:
        raise ValueError(f"logits must be (2B, 2B); got {tuple(logits.shape)}")
    positive = (torch.arange(rows, device=logits.device) + rows // 2) % rows
    itself = torch.eye(rows, dtype=torch.bool, device=logits.device)
    return F.cross_entropy(logits.masked_fill(itself, -torch.inf), positive)


def wasserstein_discrepancy(z: Tensor, *, similarity: Literal["neg_w2", "inv_w2"] = "neg_w2", temperature: float = 1.0) -> Tensor:
    """Contrastive loss by the squared 2-Wasserstein distance between the views.

    Args:
        z: (2B, V) stacked views as [mean, standard deviation] of all their parts.
        similarity: "neg_w2" = -W2 (the paper); "inv_w2" = 1 / (1 + W2) (the authors' code).
        temperature: > 0, in units of the similarity.

    Source: MStein (Fan et al., WWW 2023, arXiv:2301.12197), Eq. 12. The paper has no temperature (1).
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0; got {temperature}")
    distances = w2_within(z)
    return two_view_cross_entropy((-distances if similarity == "neg_w2" else 1 / (1 + distances)) / temperature)


def info_nce_two_views(rows: Tensor, *, similarity: Literal["cosine", "dot"] = "cosine", temperature: float = 1.0) -> Tensor:
    """InfoNCE between two stacked views: (2B, V) -> () nats.

    Source: MStein, Eq. 6 with cosine similarity; "dot" without normalisation is CoSeRec's own code (arXiv:2108.06479).
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0; got {temperature}")
    if similarity == "cosine":
        rows = F.normalize(rows, dim=-1)
    return two_view_cross_entropy(rows @ rows.T / temperature)


def cross_view_info_nce(anchors: Tensor, views: Tensor, *, temperature: float) -> Tensor:
    """Each view must find its own user's anchor among all anchors and all other views.

        loss = -mean_u log( exp s(h_u, e_u) / ( sum_v exp s(h_v, e_u) + sum_{v != u} exp s(e_v, e_u) ) ),  s = cosine / temperature

    Args:
        anchors: (B, D) h, e.g. final user vectors.
        views: (B, D) e, e.g. the same users in one modality; a zero row has cosine 0 with all.
        temperature: > 0.

    Returns:
        (), nats a user; ln(2B - 1) means "cannot tell the users apart".

    Raises:
        ValueError: other shapes, or temperature <= 0.

    Source: MMSSL (Wei et al., WWW 2023), Eq. 11, of one modality; the sum runs over the batch, as in the authors' code, and has the minus
    sign that the paper lacks.
    """
    if anchors.ndim != 2 or anchors.shape != views.shape:
        raise ValueError(f"anchors and views must both be (B, D); got {tuple(anchors.shape)}, {tuple(views.shape)}")
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0; got {temperature}")
    anchors, views = F.normalize(anchors, dim=-1), F.normalize(views, dim=-1)
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    among_views = (views @ views.T / temperature).masked_fill(itself, -torch.inf)
    logits = torch.cat([views @ anchors.T / temperature, among_views], 1)
    return F.cross_entropy(logits, torch.arange(len(views), device=views.device))
