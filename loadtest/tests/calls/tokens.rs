//! Every fault of a SessionAuth token is refused with its code.
