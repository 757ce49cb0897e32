"""temporary"""
def as_table(x, names=None):
    return x
