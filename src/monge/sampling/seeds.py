"""Random numbers that depend on (seed, epoch) alone, so that a resumed run sees what an uninterrupted one would."""

from __future__ import annotations

import hashlib

import torch


def epoch_seed(seed: int, epoch: int, purpose: str = "data") -> int:
    """A 63-bit seed from the run's seed, the epoch and what it is for."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator_for(seed: int, epoch: int, device: torch.device | str = "cpu", purpose: str = "data") -> torch.Generator:
    """A generator on the device, seeded by (seed, epoch, purpose)."""
    return torch.Generator(device=device).manual_seed(epoch_seed(seed, epoch, purpose))
