# SPDX-License-Identifier: MIT
"""The machine the lab runs on: processes, files, the cache, the terminal."""
