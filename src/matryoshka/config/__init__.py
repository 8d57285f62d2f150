"""The configuration: its check, the recipe that it becomes, values that depend on the machine."""
