"""A free vector for each user and item: the plainest encoder of (user, item) pairs."""

from __future__ import annotations

from torch import Tensor, nn


class Embeddings(nn.Module):
    """Two tables, initialised by Xavier's normal distribution.

    Any other encoder of pairs has these two methods as well; nothing is normalised in here.
    """

    def __init__(self, n_users: int, n_items: int, dim: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(n_users, dim), nn.Embedding(n_items, dim)
        for table in (self.users, self.items):
            nn.init.xavier_normal_(table.weight)

    def forward(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (B,), (B,) -> vectors (B, D), (B, D)."""
        return self.users(users), self.items(items)

    def everything(self) -> tuple[Tensor, Tensor]:
        """The vectors of all users and of all items: (n_users, D), (n_items, D)."""
        return self.users.weight, self.items.weight
