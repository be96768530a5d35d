"""The pages in the middle of the window, and the panels around them."""
