"""What a learning step on the CPU does in one pass each where torch would start dozens of tiny operations.

Nothing here is public: :mod:`s7rl.agents.distributions` and :mod:`s7rl.agents.losses` have the tensor operations that
define the results, and choose.
"""
