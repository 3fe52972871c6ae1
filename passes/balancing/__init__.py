"""Parts of balance-channels, which records of balanced layers use as well."""
