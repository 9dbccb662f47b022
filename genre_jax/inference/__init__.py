"""Trained networks at work. Last room of the flow: a model is loaded once, then hears music."""
