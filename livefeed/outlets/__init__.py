"""The embeds' wing: the JSON API that others read."""
