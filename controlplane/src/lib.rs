//! The control plane: listener, sessions, users, configuration, API.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the TOML file: what the operator declares |
//! | [`users`] | who may in: SQLite and a watched file, answered from memory |
//! | [`pool`] | addresses for sessions |

pub mod config;
pub mod pool;
pub mod users;
