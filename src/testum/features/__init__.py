"""The capabilities of testum, one folder each. This list alone names them."""

from collections.abc import Sequence

from testum.core.feature import Feature
from testum.features.builtin import Builtin
from testum.features.keys import Keys
from testum.features.selections import SavedSelections

FEATURES: Sequence[Feature] = (Builtin(), Keys(), SavedSelections())
