"""The pages: archive for readers, desk for editors; `app` is the only wiring."""
