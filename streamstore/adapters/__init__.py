"""Wire protocols: one file each, or one package; a family of peers that do not know each other."""
