#!/usr/bin/env python
"""Where a network fails
=====================

Which digits are mistaken for each other, how sure the network is, and the samples that it names most confidently wrong.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import xpnet
from xpnet.plot import confusion_matrix, reliability_diagram, wrong_samples

x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(x / 16, y, test_size=0.5, random_state=0, stratify=y)
network = xpnet.Network([64, 32, 10])
run = xpnet.Trainer(network, epochs=100, device="cpu").fit(x, y)
model = xpnet.Model(network, run.params.vector, "classification", image_shape=(8, 8))
print(f"accuracy on the test part: {model.evaluate(x_test, y_test)['accuracy']:.3f}")

# %%
# Rows are the true digits, columns the predicted ones:
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
confusion_matrix(model, x_test, y_test, ax=left)
reliability_diagram(model, x_test, y_test, ax=right)

# %%
# The most confident mistakes. Some of them are hard for people too:
wrong_samples(model, x_test, y_test)
plt.show()
