"""Which parameters are trained, and by which optimizer."""
