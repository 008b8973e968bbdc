"""`s7rl bench`: what the sequence models cost, and what they can remember.

``measuring`` times things against each other, ``peak_memory`` weighs them; both know nothing of what they measure.
``scan``, ``cores`` and ``recall`` are the benchmarks, one function each, on the requests of ``config``. Every run
leaves a folder (``output``) with a table, a picture (``chart``) and the machine it ran on.
"""
