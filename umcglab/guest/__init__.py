# SPDX-License-Identifier: MIT
"""A kernel under QEMU: images, the console, SSH, exact guests, the guest suite."""
