"""EASE: each item's column of the log from all other items' columns, by ridge regression in closed form.

    B = argmin |X - X B|^2 + regularisation |B|^2  subject to  diag(B) = 0
      = I - P diag(1 / diag(P)),   P = (X'X + regularisation I)^-1
    score(u, i) = sum over j in history(u) of B_ji

Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, Eq. 8. P is computed in float64; B is kept in
float32. It is a dense table of items x items, so there is a limit to the number of items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from scipy.linalg import lapack
from torch import Tensor, nn

from monge.data import Interactions, QueryBatch
from monge.data.matrix import user_item_matrix
from monge.errors import ConfigError
from monge.models.contract import check_positive

BYTES_A_PAIR = 16
"""Of two items, while the table is solved: 8 of P, 4 of B and 4 of B's other triangle."""


@dataclass(frozen=True, kw_only=True)
class EASEConfig:
    """EASE's options."""

    regularisation: float = 300.0
    """Ridge penalty, in users."""
    max_gigabytes: float = 8.0
    """Memory that the table of items x items may take while it is solved; more items than that allows are refused."""

    def __post_init__(self) -> None:
        check_positive(self, "regularisation", "max_gigabytes")

    def space(self) -> dict[str, str]:
        """What `monge tune` searches by itself."""
        return {"regularisation": "10..3000:log"}


class EASE(nn.Module):
    """A dense table of weights between items.

    Raises:
        ConfigError: the table would not fit the memory allowed.
    """

    Config: ClassVar = EASEConfig
    answers_unknown_users: ClassVar = True

    weights: Tensor

    def __init__(self, config: EASEConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        needed = BYTES_A_PAIR * n_items**2
        if needed > config.max_gigabytes * 1e9:
            raise ConfigError(
                f"ease keeps a dense table of items x items: {n_items:,} items need {needed:,} bytes, and --max-gigabytes "
                f"{config.max_gigabytes:g} allows less; raise it, keep fewer items (--k-core), or use slim or rp3beta"
            )
        self.config, self.n_items = config, n_items
        self.register_buffer("weights", torch.zeros(n_items, n_items))

    def solve(self, train: Interactions) -> None:
        """Invert the regularised matrix of co-occurrences, in place."""
        taken = user_item_matrix(train)
        table = (taken.T @ taken).toarray(order="F")
        table[range(self.n_items), range(self.n_items)] += self.config.regularisation
        table, failed = lapack.dpotrf(table, lower=1, overwrite_a=1)
        assert not failed, "X'X + regularisation I is positive definite"
        table, failed = lapack.dpotri(table, lower=1, overwrite_c=1)
        assert not failed, "its Cholesky factor has no zero on the diagonal"
        inverse = torch.from_numpy(table)  # of the symmetric P only the lower triangle
        diagonal = inverse.diagonal().clone()
        self.weights.copy_(inverse).tril_(-1)
        del table, inverse
        self.weights.add_(self.weights.T.clone()).div_(-diagonal.float())

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items); an item that stands twice in a history counts twice."""
        return F.embedding_bag(queries.items, self.weights, queries.offsets[:-1], mode="sum")
