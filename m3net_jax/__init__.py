"""M3Net studies in JAX: all seeds and variants of one question in one program."""
