from gmot.common import require_extra

require_extra("recipe", "numpy")
