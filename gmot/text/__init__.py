"""Text normalisation, tokens, words and n-gram language models; depends on jieba and tqdm."""
