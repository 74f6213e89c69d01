"""Pretrained prey: `mgtopo prey` trains them in self-play, picks one pair's, freezes and measures them."""
