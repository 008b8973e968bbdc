"""Device kernels behind :func:`s7rl.linear_scan`; nothing here is public."""
