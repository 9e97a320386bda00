# SPDX-License-Identifier: MIT
"""A kernel from its source: patches, configuration, build, symbols."""
