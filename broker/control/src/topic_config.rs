//! Topic configuration keys: names, types, defaults, documentation and validation.
