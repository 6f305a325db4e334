"""Weights and training state as safetensors and JSON: no pickle, nothing that could be executed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from monge.data.files import write_atomically
from monge.errors import RunError
from monge.training.loop import EpochRecord, Progress


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, contiguous on the CPU; one that a model has under several names, once, under the first."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in _own_tensors(model).items()}


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    first_name = {id(tensor): name for name, tensor in reversed(model.state_dict(keep_vars=True).items())}
    return {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if first_name[id(tensor)] == name}


def load_model_tensors(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put tensors into a model; names and shapes must match.

    Raises:
        RunError: they do not.
    """
    own = _own_tensors(model)
    wrong = sorted(set(own) ^ set(tensors)) or [name for name in own if own[name].shape != tensors[name].shape]
    if wrong:
        raise RunError(f"the weights do not fit the model: {', '.join(wrong[:3])}{' and more' if len(wrong) > 3 else ''}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any] | None = None) -> None:
    """Write tensors atomically, their checksum in the same file: the two cannot come from different epochs."""
    content = {**(header or {}), "sha256": _digest(tensors)}
    write_atomically(path, save(tensors, metadata={"monge": json.dumps(content)}))  # one key: the order of several is not fixed


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file written by `save_tensors`.

    Raises:
        RunError: missing, truncated or damaged.
    """
    try:
        with safe_open(str(path), framework="pt") as handle:
            header: dict[str, Any] = json.loads((handle.metadata() or {}).get("monge", "{}"))
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; the run directory is incomplete") from None
    except (SafetensorError, ValueError, OSError, KeyError) as error:
        raise RunError(f"{path}: damaged or truncated ({error}); train again or restore it from a copy") from error
    if header.pop("sha256", None) != _digest(tensors):
        raise RunError(f"{path}: damaged (its checksum is not the one that was stored); restore it from a copy or train again")
    return tensors, header


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_checkpoint(path: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One file from which training goes on as if it had never stopped."""
    tensors = {f"model.{name}": tensor for name, tensor in model_tensors(model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value.detach().cpu().contiguous() for name, value in state.items()}
    save_tensors(path, tensors, {"progress": asdict(progress)})


def load_checkpoint(path: Path, model: nn.Module) -> tuple[Progress, dict[int, dict[str, Tensor]]]:
    """Put the checkpoint's weights into the model; returns the progress and the optimizer's state by parameter.

    Raises:
        RunError: missing, damaged, or of another model.
    """
    tensors, header = read_tensors(path)
    load_model_tensors(model, {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    try:
        raw = header["progress"]
        progress = Progress(**{**raw, "records": [EpochRecord(**record) for record in raw["records"]]})
    except (KeyError, TypeError) as error:
        raise RunError(f"{path}: not a checkpoint of this Monge ({error})") from error
    return progress, state


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Tensor]]) -> None:
    """Give an optimizer the state that `load_checkpoint` returned."""
    current = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})
