"""Define the networks as Flax modules, one file per architecture; `registry` maps names to them."""
