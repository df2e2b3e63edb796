"""From result files to what people read: tables in the terminal, in Markdown and LaTeX, and rows for pandas and spreadsheets.

Reads results, never runs a model.
"""
