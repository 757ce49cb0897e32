#!/usr/bin/env python
"""Arrays on a GPU
===============

Train and predict with CuPy arrays: the data stays on the GPU, and the fitted model also works without one.
"""

import pickle
import sys

import numpy as np
from sklearn.datasets import load_digits

from xpnet import MLPClassifier, get_backend
from xpnet.errors import XpnetError

try:
    get_backend("gpu")
except XpnetError as reason:  # CuPy, the GPU or its driver is missing
    print(f"skipped: {reason}")
    sys.exit()
import cupy as cp

digits = load_digits()
X, y = cp.asarray(digits.data / 16, dtype=cp.float32), cp.asarray(digits.target)
clf = MLPClassifier((64,), learning_rate_init=0.005, tol=1e-3, random_state=0).fit(X, y)
probabilities = clf.predict_proba(X)
print(f"in: {type(X).__module__}, out: {type(probabilities).__module__}, accuracy {clf.score(X, y):.3f}")

# The pickle holds NumPy arrays, so it loads on a machine without a GPU.
on_host = pickle.loads(pickle.dumps(clf))
same = np.allclose(on_host.predict_proba(cp.asnumpy(X)), cp.asnumpy(probabilities), atol=1e-4)
print(f"the same on the host: {same}")
