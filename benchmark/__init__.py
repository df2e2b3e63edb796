"""What drives the attacks against the models: data, protocols, the batched loop, results, reports, the command line.

This room knows `attacks` and `models`; neither knows it. A command walks cli -> cells -> evaluate -> results -> report.
"""
