#!/usr/bin/env python
"""A rare class
============

Class weights and dropout raise the balanced accuracy.
"""

from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split

from xpnet import MLPClassifier

X, y = make_classification(3000, 20, n_informative=6, weights=[0.95], class_sep=0.8, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)
plain = MLPClassifier((64,), learning_rate_init=0.005, max_iter=300, tol=1e-3, random_state=0)
weighted = clone(plain).set_params(class_weight="balanced", dropout=0.5)

print(f"share of the rare class: {y.mean():.3f}")
for name, clf in (("plain", plain), ("class weights and dropout", weighted)):
    predicted = clf.fit(X_train, y_train).predict(X_test)
    print(f"balanced accuracy, {name}: {balanced_accuracy_score(y_test, predicted):.3f}")
