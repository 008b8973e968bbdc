"""``python -m s7rl``: the command line, also where the ``s7rl`` script is not on the path.

The one module of this floor that looks upwards: Python wants it here, and nothing imports it.
"""

from s7rl.experiments.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
