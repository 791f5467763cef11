"""A recipe for a corpus of one's own: inspection, proposal, recipe folder (``gmot new-corpus``).

splits.py divides the utterances, proposal.py chooses units, scoring and size of the model,
report.py describes what was found, folder.py writes the recipe, create.py does it all.
"""

from gmot.common import require_extra

require_extra("recipe", "numpy")
