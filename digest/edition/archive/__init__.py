"""The archive of sent editions: searching their stories and correcting them."""
