"""The same attacks from torchattacks, foolbox, ART and adv-lib, behind the interface of the attacks here, to compare with.

One file a library. They run as the libraries made them, mistakes included: nothing here repairs what one returns.
"""
