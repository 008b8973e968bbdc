"""The command line of s7rl: train, evaluate, compare, measure and list, on frozen dataclasses.

``cli`` has ``command_line`` turn words into a config (``config``) and calls one command: ``train``, ``evaluate``,
``experiment``, ``listing`` or one of ``bench``. What a run needs to know follows from its task in ``settings`` by the
numbers in ``presets``; what it leaves behind lies in a run folder (``run_folder``). An ``experiment`` is a ``grid`` of
runs in a folder (``grid_folder``, ``finished_runs``), each a process of ``local_launcher``. Only the commands
themselves import torch, so that ``s7rl --help`` answers at once.
"""
