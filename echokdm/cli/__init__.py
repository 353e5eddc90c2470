"""The commands: words in, one call of the library, sentences and files out."""
