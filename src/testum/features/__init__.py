"""The capabilities of testum, one folder each. This list alone names them."""

from testum.core.feature import Registry
from testum.features.builtin import Builtin
from testum.features.keys import Keys

INSTALLED = Registry([Builtin(), Keys()])
