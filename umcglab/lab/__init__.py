# SPDX-License-Identifier: MIT
"""What a lab is made of: lab.yaml, architectures, flavors, manifests."""
