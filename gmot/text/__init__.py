"""Tokens, words and language models; needs nothing but jieba (and tqdm)."""
