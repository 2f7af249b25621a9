"""What tests of several packages build and look at. A module is named after what it builds; none has a test in it."""
