"""What stands around an environment: observations hidden, disturbed, encoded or flattened, rewards changed."""
