"""`s7rl bench`: what the sequence models cost, what they can remember, and how fast the environments are.

``measuring`` times things against each other, ``peak_memory`` weighs them; both know nothing of what they measure.
``scan``, ``cores``, ``recall`` and ``envs`` are the benchmarks, one function each, on the requests of ``config``. Every
run leaves a folder (``output``) with a table, mostly a picture (``chart``), and the machine it ran on.
"""
