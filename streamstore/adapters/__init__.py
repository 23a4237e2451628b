"""Wire protocols, one file each; a family of peers that do not know each other."""
