"""From result files to what people read: tables in the terminal and in Markdown. Reads results, never runs a model."""
