"""Final vectors that a model computes at some cost: kept to answer with, saved with it, made anew once it has learnt."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Answers(nn.Module):
    """(U, D) and (I, D) vectors in persistent buffers, so that a run that was loaded answers without graphs and training rows.

    They are computed when asked for after `outdated()` was called, and before a state is saved; loading a state puts the state's own in.

    Args:
        n_users, n_items: rows.
        dim: D.
        compute: gives both tables, without dropout; called without gradients.
    """

    users: Tensor
    items: Tensor

    def __init__(self, n_users: int, n_items: int, dim: int, compute: Callable[[], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.register_buffer("users", torch.zeros(n_users, dim))
        self.register_buffer("items", torch.zeros(n_items, dim))
        self.compute = compute
        self.fresh = True  # nothing was learnt yet, and nothing could be computed before training rows are there
        self.register_state_dict_pre_hook(_up_to_date)
        self.register_load_state_dict_post_hook(_as_loaded)

    def outdated(self) -> None:
        """What they are made of has changed, or is about to."""
        self.fresh = False

    @torch.no_grad()
    def get(self) -> tuple[Tensor, Tensor]:
        """Both tables, without gradients."""
        if not self.fresh:
            for buffer, vectors in zip((self.users, self.items), self.compute(), strict=True):
                buffer.copy_(vectors)
            self.fresh = True
        return self.users, self.items


def _up_to_date(answers: nn.Module, *_: object) -> None:
    assert isinstance(answers, Answers)
    answers.get()


def _as_loaded(answers: nn.Module, _: object) -> None:
    assert isinstance(answers, Answers)
    answers.fresh = True
