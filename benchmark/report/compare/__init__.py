"""Two things side by side: two models, two runs, two versions of a protocol, two implementations of an attack.

Paired over the same examples. Which cells count, and what is told of their models, the boards say; a whole order of models is for
`report/ranks/`.
"""
