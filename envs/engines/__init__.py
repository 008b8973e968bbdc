"""Tasks that are written as rules over a batch of rows; see ``s7rl.envs.batched``."""
