"""M3Net as pure functions and Flax modules: knows arrays only."""
