"""One command a module: its options, its call, and how its result is shown."""
