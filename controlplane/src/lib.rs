//! The control plane: listener, sessions, users, configuration, API.
//!
//! | module | what |
//! |---|---|
//! | [`aaa`] | who may in, and what they are given |
//! | [`accounting`] | what sessions used, told to RADIUS servers |
//! | [`api`] | HTTP and JSON over a unix socket |
//! | [`bridging`] | TAP devices of bridged sessions |
//! | [`bindings`] | interfaces that users have to themselves |
//! | [`call`] | one PPP link and its tunnel, either side |
//! | [`cli`] | the command line |
//! | [`clients`] | tunnels that we dial ourselves |
//! | [`clock`] | the machines' time |
//! | [`config`] | the TOML file: what the operator declares |
//! | [`control`] | a PPTP control connection on TCP, either side |
//! | [`daemon`] | `penstock serve` |
//! | [`dial`] | `penstock dial` |
//! | [`hooks`] | programs that run when sessions come and go |
//! | [`host`] | what the machine around us is like |
//! | [`lockout`] | who guesses passwords is locked out |
//! | [`import`] | configurations of other systems made ours |
//! | [`ipv6`] | IPv6 of sessions, and pools of prefixes |
//! | [`kept`] | objects that commands add, in SQLite |
//! | [`kernel`] | addresses and routes by netlink |
//! | [`lists`] | addresses of sessions in nft's sets |
//! | [`mailbox`] | what others tell a task |
//! | [`plane`] | our end of the data plane |
//! | [`pool`] | addresses for sessions |
//! | [`radius`] | RADIUS on the network: who is asked and told |
//! | [`rate_limit`] | RouterOS's grammar of rate limits |
//! | [`sqlite`] | what our SQLite files have in common |
//! | [`terms`] | what a session is given and held to |
//! | [`text`] | peers' text made harmless |
//! | [`users`] | who may in: SQLite and a watched file, answered from memory |

pub mod aaa;
pub mod accounting;
pub mod api;
pub mod bindings;
pub mod bridging;
pub mod call;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dial;
pub mod hooks;
pub mod host;
pub mod import;
pub mod ipv6;
pub mod kept;
pub mod kernel;
pub mod lists;
pub mod lockout;
pub mod mailbox;
pub mod plane;
pub mod pool;
pub mod radius;
pub mod rate_limit;
pub mod sqlite;
pub mod terms;
pub mod text;
pub mod users;
