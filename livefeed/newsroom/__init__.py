"""The editors' wing: tokens, publishing, import and export."""
