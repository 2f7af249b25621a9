"""`apply-settings`: objects at the destination get the settings of the configuration, without another upload.

See docs/design/verifying.md.
"""
