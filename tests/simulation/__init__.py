"""A deterministic simulation of the whole library, from one seed a history.

- `scripts.py`: what a server meant, as a plain list of canonical events
- `oracle.py`: what a reader should see of it; knows the script, and nothing of the library
- `wires.py`: the same script as other protocols write it
- `faults.py`: what goes wrong on the way, as a plain list of actions
- `core.py`: carries a history out on a store alone; `whole.py`, `opencode.py`: on a client, a
  network and a disk
- `bounds.py`: the same on a store that remembers next to nothing, by what holds whatever it forgot
- `openai_scripts.py`, `openai_wires.py`, `openai_oracle.py`, `openai.py`, `openai_client.py`: the
  same for OpenAI's wires, which say more than canonical scripts do
- `histories.py`: seeds to histories, and how one is judged; `shrinking.py` makes a failing one small
- `python -m tests.simulation --histories 1000000 --seed 0 --jobs 2`: any number of them

A history is plain JSON: it can be printed, shrunk, kept (`regressions.json`) and carried out again.
"""

import sys
from pathlib import Path

# The disk and the network of other tests are found also when this is run as a command.
for _path in (_TESTS := Path(__file__).resolve().parent.parent, _TESTS / "client"):
    if str(_path) not in sys.path:
        sys.path.append(str(_path))
