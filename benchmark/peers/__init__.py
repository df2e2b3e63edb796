"""`make peers`: ours and each library on the same model, images and threads, in alternating order, strength beside time;
then ours beside their own limits.

What is measured here is time; what is right is the canaries' business. No test depends on a time.
"""
