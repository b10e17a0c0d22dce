"""What interpreters other than the main one make of modules: the command `interpreters check`."""
