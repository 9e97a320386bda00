# SPDX-License-Identifier: MIT
"""What the facts of a run amount to; opens nothing but the folder of the run."""
