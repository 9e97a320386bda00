# SPDX-License-Identifier: MIT
"""A judged run for its readers: HTML, JUnit, plots."""
