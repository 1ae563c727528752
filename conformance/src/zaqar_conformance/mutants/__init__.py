"""Wrong drivers, each breaking what the suite has to see broken: the suite's own test.

A mutant is a small class of one of the modules here, mostly one method of the reference driver done wrong as real
drivers have done it. Its name is the class's, its defect the first line of its docstring. ``zaqar-conformance mutants``
runs them.
"""

from zaqar_conformance.mutants.zoo import Mutant, all_mutants, controls

__all__ = ["Mutant", "all_mutants", "controls"]
