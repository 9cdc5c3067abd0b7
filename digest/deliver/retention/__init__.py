"""What goes after a set time, and what is passed on when somebody is erased."""
