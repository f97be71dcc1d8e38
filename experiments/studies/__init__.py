"""The insides of the larger commands, a package or a file each."""
