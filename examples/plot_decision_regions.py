#!/usr/bin/env python
"""Decision regions
================

What a hidden layer adds: a network without one separates classes by straight lines, and cannot separate these.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_moons

import xpnet
from xpnet.plot import decision_regions_beside_linear

x, y = make_moons(300, noise=0.15, random_state=0)
classifier = xpnet.MLPClassifier((16,), activation="tanh", solver="lbfgs", alpha=0.1, random_state=0).fit(x, y)
print(f"accuracy of the network: {classifier.score(x, y):.3f}")
decision_regions_beside_linear(classifier, x, y)
plt.show()
