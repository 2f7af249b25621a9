"""Where objects come from and go to: stores that cost as little as they can, real ones, and folders."""
