"""The 23 checks that tell a robust model from a broken attack: each a number, a verdict and its evidence, kept beside the cells.

A check reads the cells of a run, or puts a few dozen examples to the model through the attacks and the judge that there are.
No attack is defined here, no cell is written, and no table of a board is rendered.
"""
