"""Decoding images and encoding them again; runs in the sandbox alone."""
