"""The command line: words to a checked configuration, to a task; and what a sweep is around its jobs."""
