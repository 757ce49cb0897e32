#!/usr/bin/env python
"""Decision regions from epoch to epoch
=======================================

A network learns the rough shape in a few epochs and the details in many more. The callback ``plot.Frames`` keeps the
parameters of some epochs. ``plot.film`` makes an animated picture of them, as ``xpnet show RUN --film`` does.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_circles

import xpnet
from xpnet import plot

X, y = make_circles(300, noise=0.1, factor=0.5, random_state=0)
X = X.astype(np.float32)
frames = plot.Frames(n=6)
network = xpnet.Network([2, 16, 2], activation="tanh")
run = xpnet.Trainer(network, epochs=100, learning_rate=0.01, callbacks=[frames]).fit(X, y)
model = xpnet.Model(network, run.params.vector, "classification")

figure, axes = plt.subplots(2, 3, figsize=(10, 6.5), layout="constrained", sharex=True, sharey=True)
for ax, frame in zip(axes.flat, frames.of(model), strict=True):
    plot.decision_regions(frame.model, X, y, ax)
    ax.set_title(f"epoch {frame.epoch}")
    ax.get_legend().remove()
    ax.label_outer()
    print(f"epoch {frame.epoch:3}: accuracy {frame.model.evaluate(X, y)['accuracy']:.3f}")
