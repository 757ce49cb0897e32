#!/usr/bin/env python
"""Text as labels
==============

Train on text labels, with early stopping by a scorer on your own validation set, and read the curves.
"""

from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from xpnet import MLPClassifier

iris = load_iris()
X, y = StandardScaler().fit_transform(iris.data), iris.target_names[iris.target]  # "setosa", "versicolor" ...
X_train, X_val, y_train, y_val = train_test_split(X, y, random_state=0, stratify=y)
clf = MLPClassifier(
    hidden_layer_sizes=(16,),
    learning_rate_init=0.05,
    early_stopping=True,
    scoring=["neg_log_loss", "f1_macro"],  # early stopping uses the first; both are recorded
    max_iter=500,
    random_state=0,
)
clf.fit(X_train, y_train, eval_set=(X_val, y_val))
best = clf.validation_scores_.index(clf.best_validation_score_)
print(f"classes: {', '.join(clf.classes_)}; the first flower is {clf.predict(X[:1])[0]}")
print(f"best epoch: {best + 1} of {clf.n_iter_}, validation F1 {clf.history_['validation_f1_macro'][best]:.3f}")
