# SPDX-License-Identifier: MIT
"""A run of the lab: what is built, booted and tested, and in which order."""
