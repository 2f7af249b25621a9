"""One function for each command, which puts together what the command needs; each gets a `Context` first."""
