"""Stub."""
import numpy as np, pyarrow as pa
__all__ = ["as_table"]
def as_table(x, names=None):
    if isinstance(x, pa.Table): return x
    if isinstance(x, dict): return pa.table({k: pa.array(v, from_pandas=True) for k, v in x.items()})
    if isinstance(x, np.ndarray):
        return pa.table({str(i+1): pa.array(c.tolist() if c.dtype == object else c, from_pandas=True) for i, c in enumerate(x.T)})
    return pa.Table.from_pandas(x, preserve_index=False)
