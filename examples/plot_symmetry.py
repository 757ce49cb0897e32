#!/usr/bin/env python
"""Why initial weights must differ
=================================

Units that begin with equal weights get equal gradients, so they stay equal for ever, and the whole hidden layer is as
good as a single unit. Random weights break the symmetry.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_moons

import xpnet
from xpnet import plot
from xpnet.plot.equal_weights import symmetry_runs

X, y = make_moons(200, noise=0.15, random_state=0)
network = xpnet.Network([2, 8, 2], activation="tanh")
figure, ax = plt.subplots(figsize=(8, 6.5), layout="constrained")
plot.symmetry(network, X, y, ax)

for name, run in zip(("equal", "random"), symmetry_runs(network, X, y), strict=True):
    print(f"{name} start: loss {run.losses[-1]:.3f}, largest difference between units {run.spread[-1]:.3f}")
