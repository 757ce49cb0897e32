#!/usr/bin/env python
"""A grid search
=============

Search over alpha, as with scikit-learn's network, and over dropout and activations by layer, which are new.
"""

import matplotlib.pyplot as plt
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

results = search.cv_results_
labels = [", ".join(f"{name} {value}" for name, value in params.items()) for params in results["params"]]
figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.errorbar(results["mean_test_score"], range(len(labels)), xerr=results["std_test_score"], fmt="o")
ax.set(xlabel="accuracy, mean and deviation of three folds", yticks=range(len(labels)), yticklabels=labels)
ax.grid(axis="x", alpha=0.4)
plt.show()
