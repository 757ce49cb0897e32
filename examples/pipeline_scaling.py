#!/usr/bin/env python
"""Scaling in a pipeline
=====================

Scale the features in a pipeline: the scaling is fitted on the training part only.
"""

from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet import MLPClassifier

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
network = MLPClassifier((32,), learning_rate_init=0.01, max_iter=500, tol=1e-3, random_state=0)
pipeline = make_pipeline(StandardScaler(), network)

# The columns of wine differ a thousandfold in size. Without scaling, the large ones dominate the training.
print(f"accuracy without scaling: {network.fit(X_train, y_train).score(X_test, y_test):.3f}")
print(f"accuracy with scaling: {pipeline.fit(X_train, y_train).score(X_test, y_test):.3f}")
