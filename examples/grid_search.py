#!/usr/bin/env python
"""A grid search
=============

Search over alpha, as with scikit-learn's network, and over dropout and activations by layer, which are new.
"""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

from xpnet import MLPClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
network = MLPClassifier(
    hidden_layer_sizes=(64, 32),
    learning_rate_init=0.005,
    early_stopping=True,
    n_iter_no_change=5,
    max_iter=100,
    random_state=0,
)
grid = {"dropout": [0.0, 0.2], "activation": ["relu", ["gelu", "tanh"]], "alpha": [1e-4, 1e-1]}
search = GridSearchCV(network, grid, cv=3).fit(X_train, y_train)
print(f"best of {len(search.cv_results_['params'])}: {search.best_params_}")
print(f"accuracy on the test part: {search.score(X_test, y_test):.3f}")
