# SPDX-License-Identifier: MIT
"""Kernels that are changed or inspected: mutants, checks, anatomy."""
