"""Adapters of xpnet, one module an array library; the core reaches each by its registry name."""
