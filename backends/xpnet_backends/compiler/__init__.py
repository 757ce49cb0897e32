"""The compiler: a step is traced once into a program, which is optimized and emitted for NumPy, Numba or CUDA."""
