"""A teacher that follows its student: the exponential moving average of the weights.

Source: Tarvainen & Valpola, "Mean teachers are better role models", NIPS 2017; here the momentum is constant from the first step.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def teacher_of(student: ModuleT) -> ModuleT:
    """A copy with the same weights, which no gradient and no optimizer touches."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, parameter by parameter; buffers stay as they are.

    Args:
        teacher: made by `teacher_of`; changed in place.
        student: of the same shape.
        momentum: in [0, 1]; 0 copies the student, 1 leaves the teacher as it is.
    """
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
