"""How the console writes dates and times; Django reads `en/formats.py` by `FORMAT_MODULE_PATH`."""
