"""Peers of `xpnet bench`: the same training, written as well as its own library lets one, without xpnet.

``create_NAME(kind)`` returns ``start(x, y, layers, activation, optimizer, learning_rate, batch)``, which returns
``run(order, seed)``: it trains the epochs of `order`, (epochs, steps, batch), from where the last call ended, waits for
the device, and returns the mean loss of the last epoch.
"""
