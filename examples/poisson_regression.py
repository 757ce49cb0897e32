#!/usr/bin/env python
"""Counts as targets
=================

Predict counts with the Poisson loss, and compare the deviance with that of the mean.
"""

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.metrics import d2_tweedie_score, mean_poisson_deviance
from sklearn.model_selection import train_test_split

from xpnet import MLPRegressor

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (3000, 3))
y = rng.poisson(np.exp(np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2]))  # many zeros, and no linear relation
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
mean = DummyRegressor().fit(X_train, y_train)
network = MLPRegressor("poisson", (32, 32), learning_rate_init=0.005, early_stopping=True, random_state=0)
network.fit(X_train, y_train)

for name, predicted in (("mean", mean.predict(X_test)), ("network", network.predict(X_test))):
    deviance = mean_poisson_deviance(y_test, predicted)
    print(f"{name}: deviance {deviance:.3f}, D2 {d2_tweedie_score(y_test, predicted, power=1):.3f}")
