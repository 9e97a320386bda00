# SPDX-License-Identifier: MIT
"""Kernels that are changed or looked into: mutants, checks, anatomy."""
