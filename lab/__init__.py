"""What only some chapters or the workshop need. One subject per file; every file may import
_common, never the reverse.

From the ground up: statistics (`stats`, `sampling`, `calibration`), stored results (`store`,
`find_or_make`, `runs`, `experiments`), then one folder a subject (`addition`, `modular`, `adders`),
figures, and last the page.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the book: the folder with _common.py
