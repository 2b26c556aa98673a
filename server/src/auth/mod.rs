//! One file per credential; pure functions, test vectors beside them.
