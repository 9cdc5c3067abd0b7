"""Where machines report."""
