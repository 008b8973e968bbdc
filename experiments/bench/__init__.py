"""`s7rl bench`: what sequence models, trainers and environments cost, and what the models can remember.

``measuring`` times things against each other, ``peak_memory`` weighs them; both know nothing of what they measure.
``scan``, ``cores``, ``recall``, ``envs`` and ``train`` are the benchmarks, one function each, on the requests of
``config``. Every run leaves a folder (``output``) with a table, mostly a picture (``chart``, ``dots``), and the machine
it ran on.
"""
