"""Peers of `xpnet bench`: the same training in the best code of another library, without xpnet.

``create_NAME(kind)`` takes ``"cpu"`` or ``"gpu"`` and returns a function ``start(x, y, layers, activation, optimizer,
learning_rate, batch)``. That returns a function ``run(order, seed)``, which trains the epochs of `order`, an array of
shape (epochs, steps, batch), waits for the device, and returns the mean loss of the last epoch. Each call of `run`
continues where the last one ended.

``predict_NAME(kind)`` returns a function ``start(layers, activation)``. That returns a function ``predict(x)``, from
features on the host to the probabilities of the classes on the host.
"""
