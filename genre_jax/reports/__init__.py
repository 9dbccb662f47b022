"""Reports of runs, plots, and Grad-CAM."""
