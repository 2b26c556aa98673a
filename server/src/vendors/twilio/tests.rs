mod caller;
mod session;
