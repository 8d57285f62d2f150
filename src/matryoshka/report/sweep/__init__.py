"""What the jobs of a sweep came to: table, figures and page."""
