"""The data plane: Cython without the GIL. Only `ovng.io` and tests import this package."""
