"""Certificates beside the attacks: proofs that no image within ε in L∞ and in the box is misclassified.

Bounds (interval, crown) and an exact search (exact) over a network traced into a chain of layers, and what they leave on
disk. No attack is defined here and no table is rendered; the network judged is the one that the attacks are judged on.
"""
