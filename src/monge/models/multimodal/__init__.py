"""Models that read what items are like (images, sound, texts, attributes) beside who took them."""
