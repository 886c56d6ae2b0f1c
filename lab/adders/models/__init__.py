"""The families of ten-digit adders, trained and set by hand."""
