"""The report of a run, its plots, and Grad-CAM."""
