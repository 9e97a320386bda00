# SPDX-License-Identifier: MIT
"""umcglab: build, boot, test and measure UMCG kernels under QEMU."""

__version__ = "0.1.0"
