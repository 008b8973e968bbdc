"""Device kernels behind :mod:`s7rl.scan` and :mod:`s7rl.selective_scan`; nothing here is public."""
