#!/usr/bin/env python
"""What the batch size does
========================

Train the same network with the same learning rate on batches of different sizes. By epoch, small batches are ahead: they
take more steps. By step, large batches are hardly better, although each costs more.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

import xpnet

x, y = load_digits(return_X_y=True)
x = x / 16
network = xpnet.Network([64, 32, 10], activation="tanh")

figure, (by_epoch, by_step) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for batch_size in (1, 10, 100, 1000):
    trainer = xpnet.Trainer(network, "sgd", 0.05, batch_size=batch_size, epochs=20, device="cpu")
    loss = [record.loss for record in trainer.fit(x, y).history]
    steps_per_epoch = -(-len(x) // batch_size)
    epochs = range(1, 21)
    by_epoch.plot(epochs, loss, ".-", label=f"{batch_size}")
    by_step.plot([epoch * steps_per_epoch for epoch in epochs], loss, ".-", label=f"{batch_size}")
    print(f"batch size {batch_size:4}: {20 * steps_per_epoch:6} steps, loss {loss[-1]:.3f}")
by_epoch.set(xlabel="epoch", ylabel="loss", yscale="log")
by_step.set(xlabel="step", xscale="log")
by_epoch.legend(title="batch size")
