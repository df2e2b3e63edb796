"""Whether a folder of results is what it says: each cell against itself, its protocol, its weights and examples, and, where its
candidates are kept, example by example against the model, by the judge of the runs; its attack again on a few robust examples.

Reads results and asks models. Writes nothing.
"""
