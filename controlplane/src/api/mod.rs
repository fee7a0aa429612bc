//! The API: HTTP and JSON over a unix socket that is the owner's alone.
//!
//! | method and path | what |
//! |---|---|
//! | `GET /v1/users` | all users |
//! | `POST /v1/users` | add one ([`types::NewUser`]) |
//! | `PATCH /v1/users/{name}` | change one ([`types::UserChange`]) |
//! | `DELETE /v1/users/{name}` | remove one |
//! | `GET /v1/sessions` | all sessions, those that log in too |
//! | `POST /v1/sessions/disconnect` | end those that a [`types::Selector`] means |
//! | `GET /v1/bindings` | interfaces of users ([`types::BindingView`]) |
//! | `GET /v1/clients` | all tunnels that we dial ([`clients::ClientView`]) |
//! | `POST /v1/clients` | add one ([`crate::config::Client`]) |
//! | `PATCH /v1/clients/{name}` | change one ([`clients::ClientChange`]) |
//! | `DELETE /v1/clients/{name}` | remove one |
//! | `GET /v1/stats` | counters of daemon, data plane and pools |

pub mod client;
pub mod clients;
pub mod server;
pub mod types;
