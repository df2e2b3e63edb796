"""The pages: a static site of boards, models and comparisons, made from results and opened from the file system.

Sets what `report/` says and `plots/` draws. No number is computed here, no attack is run but by a picture, nothing is fetched.
"""
