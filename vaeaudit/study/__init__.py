"""Studies: cells that survive a crash, and the pages made from them."""
