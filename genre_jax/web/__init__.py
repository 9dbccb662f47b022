"""Serve predictions as a web page."""
