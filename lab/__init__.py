"""What only some chapters or the workshop need. One subject per file; every file may import _common, never the reverse."""
