//! The control plane: listener, sessions, users, configuration, API.
//!
//! | module | what |
//! |---|---|
//! | [`api`] | HTTP and JSON over a unix socket |
//! | [`cli`] | the command line |
//! | [`config`] | the TOML file: what the operator declares |
//! | [`host`] | what the machine around us is like |
//! | [`pool`] | addresses for sessions |
//! | [`users`] | who may in: SQLite and a watched file, answered from memory |

pub mod api;
pub mod cli;
pub mod config;
pub mod host;
pub mod pool;
pub mod users;
