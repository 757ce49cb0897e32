#!/usr/bin/env python
"""Why weights start at random
===========================

If all weights of a layer are equal at the start, its units get the same gradient and stay equal. The layer then does no
more than a single unit. Random weights break the symmetry.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_circles

import xpnet
from xpnet.plot import symmetry

x, y = make_circles(200, noise=0.1, factor=0.4, random_state=0)
symmetry(xpnet.Network([2, 8, 2], activation="tanh"), x, y)
plt.show()
