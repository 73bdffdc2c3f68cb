"""deepscope: use any image classifier, look inside it, break it, move it, and generate data for it."""
