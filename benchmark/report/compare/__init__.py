"""Two things side by side: two models, two runs, two versions of a protocol, two implementations of an attack.

Paired over the same examples. Knows cells, not boards; a whole order of models is for `report/ranks/`.
"""
