"""Documents from outside are read in processes of their own, which hold no key and can be killed."""
