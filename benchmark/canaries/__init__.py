"""Models with known answers, on which every implementation of an attack is graded; the grades stand beside its numbers.

Here live the models, what is asked of an attack on each, and the table. Attacks are neither repaired nor believed here.
"""
