"""Several processes that train one model together, each on a GPU and on batches of its own (started by torchrun)."""

import os

import torch
import torch.distributed as dist
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors


class Team:
    """A team of one where torchrun did not start this process: then nothing here costs anything."""

    def __init__(self, device: str):
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        if self.size > 1:
            if device == "cuda":
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def average_gradients(self, model: torch.nn.Module) -> None:
        if self.size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = _flatten_dense_tensors(gradients) / self.size
        dist.all_reduce(flat)
        torch._foreach_copy_(gradients, _unflatten_dense_tensors(flat, gradients))

    def agree(self, value: float) -> float:
        """The leader's value, so that clocks that differ a little cannot lead the members apart."""
        if self.size == 1:
            return value
        shared = torch.tensor(float(value), dtype=torch.float64)
        dist.broadcast(shared, 0)
        return shared.item()

    def print(self, text: str) -> None:
        if self.leads:
            print(text, flush=True)
