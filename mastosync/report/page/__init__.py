"""Documents that stand alone: one file of HTML without a script, with charts as SVG, that loads nothing."""
