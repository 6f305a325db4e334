"""Wasserstein attention: the plain form beside PyTorch's fused CPU kernel (inference, no dropout)."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monge.ot import wasserstein_attention

SHAPES = ((1024, 10), (256, 50), (64, 200), (8, 1000), (4, 2000))
HEADS, WIDTH = 2, 32


def fused(query: Tensor, key: Tensor, mean: Tensor, variance: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(l) by one fused call; softmax(l)^2 = softmax(2 l) exp(lse(2 l) - 2 lse(l)) by a second."""
    scale = 1 / math.sqrt(WIDTH)
    bias = (-scale * key.square().sum(-1)).unsqueeze(-2).masked_fill(~mask, -torch.inf)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    pad = torch.zeros_like(mean)
    out_mean, lse = kernel(query, key, torch.cat([mean, pad], -1), 0.0, False, attn_mask=bias, scale=2 * scale)
    out_variance, lse2 = kernel(query, key, torch.cat([variance, pad], -1), 0.0, False, attn_mask=2 * bias, scale=4 * scale)
    return out_mean[..., :WIDTH], out_variance[..., :WIDTH] * torch.exp(lse2 - 2 * lse).unsqueeze(-1)


def milliseconds(run: Callable[[], Any], repeats: int = 7) -> float:
    """Median after one warm-up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


@torch.inference_mode()
def measure_attention() -> dict[str, Any]:
    """Milliseconds of both forms for several lengths, and how far their results differ."""
    torch.set_num_threads(2)
    figures: dict[str, Any] = {}
    for n, length in SHAPES:
        query, key = (torch.randn(n, HEADS, length, 2 * WIDTH) for _ in range(2))
        mean, variance = torch.randn(n, HEADS, length, WIDTH), torch.rand(n, HEADS, length, WIDTH)
        mask = torch.ones(length, length, dtype=torch.bool).tril().expand(n, 1, length, length)
        plain_mean, plain_variance = wasserstein_attention(query, key, mean, variance, mask=mask)
        other_mean, other_variance = fused(query, key, mean, variance, mask)
        assert plain_mean is not None
        assert torch.allclose(plain_mean, other_mean, atol=1e-4)
        assert torch.allclose(plain_variance, other_variance, atol=1e-4)
        shape = f"{n} sequences of {length}"
        figures[f"{shape}: plain, ms"] = milliseconds(
            lambda q=query, k=key, m=mean, v=variance, a=mask: wasserstein_attention(q, k, m, v, mask=a)
        )
        figures[f"{shape}: fused, ms"] = milliseconds(lambda q=query, k=key, m=mean, v=variance, a=mask: fused(q, k, m, v, a))
    return figures
