"""A rank of `scaling.py`: it trains a workload with others, and rank 0 prints what was measured as a line of JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.bench.workloads import Workload, get_workloads, make_data, orders
from xpnet.communicator import Communicator, get_communicator, share_of
from xpnet.training.trainer import Trainer

RANK, SIZE = (int(os.environ.get(f"OMPI_COMM_WORLD_{name}", default)) for name, default in (("RANK", 0), ("SIZE", 1)))
VECTORS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # elements that are summed for the model


def xpnet_epochs(workload: Workload, epochs: int, device: str) -> dict[str, Any]:
    """Train by xpnet, and return the seconds of each epoch but the first, which compiles."""
    data, communicator = make_data(workload), get_communicator("auto")
    trainer = Trainer(
        workload.network, optimizer=workload.optimizer, learning_rate=workload.learning_rate,
        batch_size=workload.batch, epochs=epochs + 1, device=device, communicator=communicator,
    )  # fmt: skip
    run = trainer.fit(data.x, data.y)
    seconds = [record.seconds for record in run.history]
    waited = 0.0 if communicator is None else communicator.seconds / sum(seconds)
    return {"seconds": seconds[1:], "communication": waited, "loss": run.history[-1].loss}


def torch_epochs(workload: Workload, epochs: int, port: str) -> dict[str, Any]:
    """Train by PyTorch's DistributedDataParallel with gloo; a single process trains without it."""
    import torch
    from torch import distributed, nn

    from xpnet_backends.peers.torch import _model

    torch.set_num_threads(1)
    data, model = make_data(workload), None
    model = _model(torch.device("cpu"), data.layers(), workload.activation)
    if SIZE > 1:
        distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=RANK, world_size=SIZE)
        model = nn.parallel.DistributedDataParallel(model)
    rules: dict[str, Callable[..., Any]] = {
        "adam": torch.optim.Adam,
        "momentum": lambda parameters, **settings: torch.optim.SGD(parameters, momentum=0.9, **settings),
        "sgd": torch.optim.SGD,
    }
    update = rules[workload.optimizer](model.parameters(), lr=workload.learning_rate, fused=True)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y).long()
    own, seconds, loss = share_of(workload.batch, RANK, SIZE), [], 0.0
    for epoch, order in enumerate(orders(workload, 0, epochs + 1)):
        if SIZE > 1:
            distributed.barrier()
        started, losses = time.perf_counter(), []
        for row in order:
            mine = torch.from_numpy(row[own])
            update.zero_grad(set_to_none=True)
            value = nn.functional.cross_entropy(model(x.index_select(0, mine)), y.index_select(0, mine))
            value.backward()
            update.step()
            losses.append(value.detach())
        total = torch.stack(losses).mean()
        if SIZE > 1:
            distributed.all_reduce(total)
        loss = float(total) / SIZE
        seconds += [time.perf_counter() - started] if epoch else []
    if SIZE > 1:
        distributed.destroy_process_group()  # else its threads may abort the process at its end
    return {"seconds": seconds, "communication": None, "loss": loss}


def sums(communicator: Communicator) -> dict[str, Any]:
    """Return the seconds that the two halves of a sum over the ranks take, by bytes."""
    found = {}
    for n in VECTORS:
        vector, times = np.zeros(n, np.float32), []
        for _ in range(max(5, min(200, 10_000_000 // n))):
            communicator.barrier()
            started = time.perf_counter()
            communicator.sum_pieces(vector)
            communicator.gather_pieces(vector)
            times.append(time.perf_counter() - started)
        found[vector.nbytes] = float(np.median(times))
    return {"sums": found}


def main() -> None:
    """Measure what the command line names: ``IMPLEMENTATION WORKLOAD BATCH STEPS EPOCHS PORT``."""
    what, name, batch, steps, epochs, port = sys.argv[1:]
    if what == "sums":
        communicator = get_communicator("mpi")
        assert communicator is not None, "expected at least two ranks"
        found = sums(communicator)
    else:
        workload = get_workloads((name,))[0]._replace(batch=int(batch), steps=int(steps))
        measure = torch_epochs if what == "torch" else xpnet_epochs
        found = measure(workload, int(epochs), port if what == "torch" else what)
    if RANK == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
