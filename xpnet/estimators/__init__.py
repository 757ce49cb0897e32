"""Estimators that replace scikit-learn's ``MLPClassifier`` and ``MLPRegressor``."""

from xpnet.estimators.classifier import MLPClassifier
from xpnet.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
