"""What is asked of upstream's own tables, and written there, one file per project.

No other code names a table of upstream's. Each file says in which release its tables were
read; a test makes them as the locked release does, and runs each function against them.
"""
