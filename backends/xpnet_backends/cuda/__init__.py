"""CUDA: matrix products by cuBLAS, and graphs of captured steps."""
