#!/usr/bin/env python
"""Vanishing gradients
===================

In a deep network of sigmoids the gradient becomes smaller from layer to layer on its way back, because the derivative
of the sigmoid is at most 1/4. The first layers then hardly learn. With ReLU and initial weights that suit it, all
layers have gradients of about the same size.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

import xpnet
from xpnet.plot import gradient_norms

x, y = load_digits(return_X_y=True)
x = x / 16

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for ax, activation in zip(axes, ("sigmoid", "relu"), strict=True):
    network = xpnet.Network([64, *[32] * 8, 10], activation=activation)
    params = network.init(seed=0)
    _, gradients = network.loss_and_grads(params, x, y)
    first, last = (float((W**2).sum() ** 0.5) for W, _ in (gradients[0], gradients[-1]))
    print(f"{activation:8} norm of the gradient: first layer {first:.1e}, last layer {last:.1e}")
    gradient_norms(xpnet.Model(network, params.vector, "classification"), x, y, ax=ax)
    ax.set_title(activation, loc="left")
plt.show()
