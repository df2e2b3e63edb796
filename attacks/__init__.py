"""The attacks: pure tensor code, one file an attack, (model, images, labels, keys) -> candidate images.

No files, no printing, no command line, nothing of `models` or `benchmark`. What they claim is judged elsewhere.
"""
