"""Chapter 8: addition modulo a prime."""
