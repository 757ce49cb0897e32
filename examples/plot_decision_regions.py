#!/usr/bin/env python
"""Decision regions
===================

A linear model divides the plane with a line; a network with hidden layers bends it. The colour is the predicted class,
and it fades where the model is not sure.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_moons

import xpnet
from xpnet import plot

X, y = make_moons(300, noise=0.2, random_state=0)
clf = xpnet.MLPClassifier((16, 16), activation="tanh", solver="lbfgs", alpha=0.3, max_iter=1000, random_state=0)
clf.fit(X, y)
print(f"accuracy of the network: {clf.score(X, y):.3f}")

figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
plot.decision_regions_beside_linear(clf, X, y, ax)
