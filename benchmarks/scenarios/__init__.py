"""What `python -m benchmarks` measures: a function for each section of results.md."""
