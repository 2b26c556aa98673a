//! The process as an operator sees it: health, drain, signals, exit codes.
