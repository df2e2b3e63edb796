"""The commands, one file an idea: what makes results, what reads them, what grades the attacks, what trains.

Each command parses its options, calls one room, prints. Nothing is computed here, and no room imports a command.
"""
