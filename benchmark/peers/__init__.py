"""`make peers`: ours and each library on the same model, images and threads, in alternating order, strength beside time.

What is measured here is time; what is right is the canaries' business. No test depends on a time.
"""
