"""The logs' claims against the cells: the number then, the number now, the verdict.

Knows boards and the plan of the registry; runs nothing. A function a claim; the page puts them in order.
"""
