"""Curves and pictures: from cells, or from a network and a few examples, to matplotlib figures that say what they show.

One file a kind: a pure function from data to a figure, and one that gathers the data. `kinds.py` lists them. Nothing here
decides what is true: numbers come from the cells, from `judge.py` and from `statistics.py`.
"""
