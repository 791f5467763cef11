"""Its being here puts ``tests/`` on the path: tests import ``oracles`` and ``small_bert``."""
