# SPDX-License-Identifier: MIT
"""What a run leaves in its folder under results/, as read and written."""
