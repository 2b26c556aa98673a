//! `clutchcall-loadtest`: callers, far ends and the judge, as a command.

fn main() {}
