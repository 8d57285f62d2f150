"""The command line: words become a checked configuration, and that a task; a sweep runs its jobs."""
